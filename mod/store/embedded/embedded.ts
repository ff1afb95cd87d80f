import { PERMANENT } from "../../lease/mod.ts";
import { Deadline } from "../deadline.ts";
import type { Condition } from "./file.ts";
import { type FileAccess, type FileUse, openFile } from "./open.ts";
import { seedConfig } from "./seed.ts";
import { cursorAt, EmbeddedWatch } from "./watch.ts";
import type { RawEntry } from "../entries.ts";
import { EntryStore, type WrittenEntry } from "../entry_store.ts";
import { ConflictError } from "../errors.ts";
import { type EmbeddedStoreOptions, UNNAMED_NETWORK } from "../options.ts";
import type {
  CallOptions,
  Change,
  Cursor,
  Snapshot,
  Store,
  WatchItem,
  WatchOptions,
} from "../store.ts";

/** For {@linkcode ConfigText}: what this store says of a missing config. */
const CONFIG_MISSING = "the file holds no network config";

/**
 * Opens one network of a store that is a local file.
 *
 * @throws {StoreFileError} when the file cannot be used, or (`owner`) another process owns it
 * @throws {ConfigError} when a seed is no config
 * @throws {StoreError} when the host refuses the file
 */
export async function openEmbedded(
  options: EmbeddedStoreOptions,
  access: FileAccess = {},
): Promise<Store> {
  const use = openFile(options.path, access);
  try {
    const store = new EmbeddedStore(use, options.network ?? UNNAMED_NETWORK);
    if (access.owner && options.seed !== undefined) await seedConfig(store, options.seed);
    return store;
  } catch (error) {
    use[Symbol.dispose]();
    throw error;
  }
}

/** One network in an {@linkcode EmbeddedFile}. */
class EmbeddedStore extends EntryStore {
  readonly name: string;
  /** What `-listen` hands to flannel 0.7.1, the only one that speaks its protocol. */
  readonly leaseForm = "v0.7";
  readonly #use: FileUse;
  readonly #watch: EmbeddedWatch<Change, Snapshot>;
  readonly #disposed = new AbortController();

  constructor(use: FileUse, network: string) {
    super(`/${network}`);
    this.#use = use;
    const which = network === UNNAMED_NETWORK ? "" : `, network ${network}`;
    this.name = `embedded store ${use.file.path}${which}`;
    this.#watch = new EmbeddedWatch({
      file: use.file,
      reader: this.entries,
      missing: CONFIG_MISSING,
      snapshot: () => this.#snapshot(),
      cursorOf: ({ cursor }) => cursor,
    });
  }

  // deno-lint-ignore require-await -- a refusal is a rejection, as every store's is
  async snapshot({ signal }: CallOptions = {}): Promise<Snapshot> {
    signal?.throwIfAborted();
    return this.#snapshot();
  }

  // deno-lint-ignore require-await -- as above
  override async putConfig(
    text: string,
    expected: string | undefined,
    { signal }: CallOptions = {},
  ): Promise<void> {
    signal?.throwIfAborted();
    const condition: Condition = expected === undefined
      ? { type: "absent" }
      : { type: "value", value: expected };
    const { file } = this.#use;
    const key = this.entries.configKey;
    try {
      file.put(key, text, PERMANENT, condition);
    } catch (error) {
      // A caller that was told of a failure and tries again finds its own text.
      if (!(error instanceof ConflictError) || file.read(key)?.value !== text) throw error;
    }
  }

  // deno-lint-ignore require-await -- as above
  override async removeConfig(expected: string, { signal }: CallOptions = {}): Promise<void> {
    signal?.throwIfAborted();
    this.#use.file.delete(this.entries.configKey, { type: "value", value: expected });
  }

  /** There is no connection that could be stale. */
  reconnect(): void {}

  async *watch(cursor: Cursor, options: WatchOptions): AsyncGenerator<WatchItem, void, void> {
    using ending = new Deadline(Infinity, () => undefined, options.signal, this.#disposed.signal);
    yield* this.#watch.watch(cursor, { ...options, signal: ending.signal });
  }

  // deno-lint-ignore require-await -- the interface is that of stores that take their time
  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed.abort();
    this.#use[Symbol.dispose]();
  }

  #snapshot(): Snapshot {
    const { file } = this.#use;
    const { entries, revision } = file.list(this.entries.prefix);
    return this.entries.snapshot(entries, CONFIG_MISSING, cursorAt(file, revision));
  }

  protected read(key: string, signal: AbortSignal | undefined): RawEntry | undefined {
    signal?.throwIfAborted();
    return this.#use.file.read(key);
  }

  protected write(
    key: string,
    value: string,
    ttl: number,
    expected: string | undefined,
    signal: AbortSignal | undefined,
  ): WrittenEntry {
    signal?.throwIfAborted();
    const condition: Condition = expected === undefined
      ? { type: "absent" }
      : { type: "revision", revision: expected };
    const { revision } = this.#use.file.put(key, value, ttl, condition);
    return { ttl, revision };
  }

  protected remove(key: string, expected: string, signal: AbortSignal | undefined): void {
    signal?.throwIfAborted();
    this.#use.file.delete(key, { type: "revision", revision: expected });
  }
}
