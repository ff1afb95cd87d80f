import { linkedSignal } from "../deadline.ts";
import {
  type CallOptions,
  type Cursor,
  type DeleteOptions,
  isInRange,
  type KeyRange,
  type Kv,
  type KvEntry,
  type KvWatchItem,
  type Listing,
  type PutOptions,
  type WatchOptions,
} from "../kv/kv.ts";
import { MISSING } from "./file.ts";
import { type FileAccess, type FileUse, openFile } from "./open.ts";
import { cursorAt, EmbeddedWatch } from "./watch.ts";

/**
 * Opens a store that is a local file.
 *
 * @throws {StoreFileError} when the file cannot be used, or (`owner`) another process owns it
 * @throws {StoreError} when the host refuses the file
 */
export function openEmbedded(path: string, access: FileAccess = {}): Kv {
  return new EmbeddedKv(openFile(path, access));
}

/** Keys and values of an `EmbeddedFile`. A refusal is a rejection, as in every store. */
class EmbeddedKv implements Kv {
  readonly name: string;
  /** Only flanneld reads them. */
  readonly leaseForm = "v0.7";
  readonly #use: FileUse;
  readonly #watch: EmbeddedWatch;
  readonly #disposed = new AbortController();

  constructor(use: FileUse) {
    this.#use = use;
    this.name = `embedded store ${use.file.path}`;
    this.#watch = new EmbeddedWatch(use.file, (range) => this.#list(range));
  }

  // deno-lint-ignore require-await -- see the class
  async get(key: string, { signal }: CallOptions = {}): Promise<KvEntry | undefined> {
    signal?.throwIfAborted();
    return this.#use.file.read(key);
  }

  // deno-lint-ignore require-await -- see the class
  async list(range: KeyRange, { signal }: CallOptions = {}): Promise<Listing> {
    signal?.throwIfAborted();
    return this.#list(range);
  }

  // deno-lint-ignore require-await -- see the class
  async put(key: string, value: string, { expect, ttl, signal }: PutOptions): Promise<KvEntry> {
    signal?.throwIfAborted();
    return this.#use.file.put(key, value, ttl, expect);
  }

  // deno-lint-ignore require-await -- see the class
  async delete(key: string, { expect, signal }: DeleteOptions): Promise<void> {
    signal?.throwIfAborted();
    this.#use.file.delete(key, expect);
  }

  async *watch(
    range: KeyRange,
    cursor: Cursor,
    options: WatchOptions,
  ): AsyncGenerator<KvWatchItem, void, void> {
    using life = linkedSignal(options.signal, this.#disposed.signal);
    yield* this.#watch.watch(range, cursor, { ...options, signal: life.signal });
  }

  /** There is no connection. */
  reconnect(): void {}

  // deno-lint-ignore require-await -- see the class
  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed.abort();
    this.#use[Symbol.dispose]();
  }

  #list(range: KeyRange): Listing {
    const { file } = this.#use;
    const { entries, revision } = file.list(range.prefix);
    return {
      entries: range.leaf === undefined
        ? entries
        : entries.filter(({ key }) => isInRange(range, key)),
      cursor: cursorAt(file, revision),
      missing: () => MISSING,
    };
  }
}
