import { sleep } from "../../async/sleep.ts";
import type { EmbeddedFile, FileEvent } from "./file.ts";
import type { KeyReader } from "../entries.ts";
import { StoreError } from "../errors.ts";
import type { Cursor, WatchItem, WatchOptions } from "../store.ts";

/** How soon a file that could not be read is tried again, in milliseconds. */
const RETRY = 1_000;

/** What is watched: the keys below the reader's prefix, as changes of one kind. */
export interface Watched<C, S> {
  readonly file: EmbeddedFile;
  readonly reader: KeyReader<C>;
  /** The store's words for a missing config. */
  readonly missing: string;
  /** Everything there is now, for when history was lost. */
  snapshot(): S;
  /** The cursor of a snapshot. */
  cursorOf(snapshot: S): Cursor;
}

/** Where a watch continues: a revision, in one file and not in one that took its place. */
export function cursorAt(file: EmbeddedFile, revision: number): Cursor {
  return `${file.generation} ${revision}`;
}

/**
 * Follows a file for any number of watchers. Those that have come as far as each other share what is
 * read and decoded for the first of them: a change costs one query, however many watch.
 */
export class EmbeddedWatch<C, S> {
  readonly #watched: Watched<C, S>;
  #last: { readonly from: number; readonly to: number; readonly changes: readonly C[] } | undefined;

  constructor(watched: Watched<C, S>) {
    this.#watched = watched;
  }

  /** As {@linkcode Store.watch}. */
  async *watch(
    cursor: Cursor,
    { signal, onState }: WatchOptions,
  ): AsyncGenerator<WatchItem<C, S>, void, void> {
    const { file } = this.#watched;
    let at = cursor;
    let isBroken = false;
    while (!signal.aborted && !file.isClosed) {
      // Before the look, so that nothing slips in between.
      using change = new NextChange(file, signal);
      let item: WatchItem<C, S> | undefined;
      try {
        item = this.#next(at);
        if (isBroken) onState?.(undefined);
        isBroken = false;
      } catch (error) {
        if (!(error instanceof StoreError)) throw error;
        if (!isBroken) onState?.(error);
        isBroken = true;
        await sleep(RETRY, signal);
        continue;
      }
      if (item === undefined) {
        await change.happened;
        continue;
      }
      at = item.type === "changes" ? item.cursor : this.#watched.cursorOf(item.snapshot);
      if (item.type === "resync" || item.changes.length > 0) yield item;
    }
  }

  /** What there is after a cursor; `undefined` when nothing has happened at all. */
  #next(cursor: Cursor): WatchItem<C, S> | undefined {
    const { file } = this.#watched;
    const [generation, text] = cursor.split(" ");
    if (generation !== file.generation) return this.#resync(`${file.path} is another file now`);
    const from = Number(text);
    const found = this.#since(from);
    if (found === undefined) {
      return this.#resync(`the history of ${file.path} does not reach back to revision ${from}`);
    }
    if (found.to === from) return undefined;
    return { type: "changes", changes: found.changes, cursor: cursorAt(file, found.to) };
  }

  #since(from: number): { readonly to: number; readonly changes: readonly C[] } | undefined {
    const { file, reader, missing } = this.#watched;
    if (this.#last?.from === from && this.#last.to === file.revision) return this.#last;
    const found = file.since(reader.prefix, from);
    if (found === undefined) return undefined;
    const changes = found.events.map((event) => read(reader, event, missing))
      .filter((change) => change !== undefined);
    this.#last = { from, to: found.revision, changes };
    return this.#last;
  }

  #resync(reason: string): WatchItem<C, S> {
    return { type: "resync", reason, snapshot: this.#watched.snapshot() };
  }
}

function read<C>(reader: KeyReader<C>, event: FileEvent, missing: string): C | undefined {
  return event.type === "put" ? reader.put(event.entry) : reader.remove(event.key, missing);
}

/** Resolves at the next change of a file, or when the signal aborts. */
class NextChange implements Disposable {
  readonly happened: Promise<void>;
  readonly #registration: Disposable;
  readonly #signal: AbortSignal;
  readonly #resolve: () => void;

  constructor(file: EmbeddedFile, signal: AbortSignal) {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.happened = promise;
    this.#resolve = () => resolve();
    this.#signal = signal;
    this.#registration = file.onChange(this.#resolve);
    signal.addEventListener("abort", this.#resolve);
  }

  [Symbol.dispose](): void {
    this.#registration[Symbol.dispose]();
    this.#signal.removeEventListener("abort", this.#resolve);
  }
}
