import { Deadline } from "../deadline.ts";
import { type FileAccess, type FileUse, openFile } from "./open.ts";
import { cursorAt, EmbeddedWatch } from "./watch.ts";
import { type NameChange, NameReader, type NamesSnapshot, type NetworkNames } from "../networks.ts";
import { type EmbeddedStoreOptions, UNNAMED_NETWORK } from "../options.ts";
import type { CallOptions, Cursor, WatchItem, WatchOptions } from "../store.ts";

/**
 * Opens the names of the networks in the file of an embedded store. The unnamed one is not among them.
 *
 * @throws {StoreFileError} when the file cannot be used, or (`owner`) another process owns it
 */
export function openEmbeddedNames(
  { path }: Pick<EmbeddedStoreOptions, "path">,
  access: FileAccess = {},
): NetworkNames {
  return new EmbeddedNames(openFile(path, access));
}

/** Reads names, of which the unnamed network has none. */
class NamedReader extends NameReader {
  override networkOf(key: string): string | undefined {
    const network = super.networkOf(key);
    return network === UNNAMED_NETWORK ? undefined : network;
  }
}

class EmbeddedNames implements NetworkNames {
  readonly name: string;
  readonly #use: FileUse;
  // Every key begins with the slash behind it.
  readonly #reader = new NamedReader("");
  readonly #watch: EmbeddedWatch<NameChange, NamesSnapshot>;
  readonly #disposed = new AbortController();

  constructor(use: FileUse) {
    this.#use = use;
    this.name = `embedded store ${use.file.path}`;
    this.#watch = new EmbeddedWatch({
      file: use.file,
      reader: this.#reader,
      missing: "",
      snapshot: () => this.#snapshot(),
      cursorOf: ({ cursor }) => cursor,
    });
  }

  // deno-lint-ignore require-await -- a refusal is a rejection, as every store's is
  async snapshot({ signal }: CallOptions = {}): Promise<NamesSnapshot> {
    signal?.throwIfAborted();
    return this.#snapshot();
  }

  async *watch(
    cursor: Cursor,
    options: WatchOptions,
  ): AsyncGenerator<WatchItem<NameChange, NamesSnapshot>, void, void> {
    using ending = new Deadline(Infinity, () => undefined, options.signal, this.#disposed.signal);
    yield* this.#watch.watch(cursor, { ...options, signal: ending.signal });
  }

  // deno-lint-ignore require-await -- the interface is that of stores that take their time
  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed.abort();
    this.#use[Symbol.dispose]();
  }

  #snapshot(): NamesSnapshot {
    const { entries, revision } = this.#use.file.list("");
    const names = entries.map(({ key }) => this.#reader.networkOf(key))
      .filter((name) => name !== undefined);
    return { names, cursor: cursorAt(this.#use.file, revision) };
  }
}
