import { sleep } from "../../async/sleep.ts";
import { StoreError } from "../errors.ts";
import {
  changesInRange,
  type Cursor,
  type KeyRange,
  type KvChange,
  type KvWatchItem,
  type Listing,
  type WatchOptions,
} from "../kv/kv.ts";
import type { EmbeddedFile } from "./file.ts";

/** Milliseconds before a file that could not be read is tried again. */
const RETRY_MS = 1_000;

/** Changes after a revision, up to another one. */
interface Batch {
  readonly to: number;
  readonly changes: readonly KvChange[];
}

/** Formats the position of a watch: a revision in one file, and not in another file that replaced it. */
export function cursorAt(file: EmbeddedFile, revision: number): Cursor {
  return `${file.generation} ${revision}`;
}

/**
 * Follows a file for any number of watchers. Watchers at one position share the batch that was read for
 * the first of them: a change costs one query, however many watch.
 */
export class EmbeddedWatch {
  readonly #file: EmbeddedFile;
  readonly #list: (range: KeyRange) => Listing;
  #last: Batch & { readonly range: KeyRange; readonly from: number } | undefined;

  /** @param list lists a range, after lost history */
  constructor(file: EmbeddedFile, list: (range: KeyRange) => Listing) {
    this.#file = file;
    this.#list = list;
  }

  /** See {@linkcode Kv.watch}. */
  async *watch(
    range: KeyRange,
    cursor: Cursor,
    { signal, onState }: WatchOptions,
  ): AsyncGenerator<KvWatchItem, void, void> {
    const file = this.#file;
    let at = cursor;
    let isBroken = false;
    while (!signal.aborted && !file.isClosed) {
      // Registered before the file is read, so that no change is missed in between.
      using change = new NextChange(file, signal);
      let item: KvWatchItem | undefined;
      try {
        item = this.#next(range, at);
        if (isBroken) onState?.(undefined);
        isBroken = false;
      } catch (error) {
        if (!(error instanceof StoreError)) throw error;
        if (!isBroken) onState?.(error);
        isBroken = true;
        await sleep(RETRY_MS, signal);
        continue;
      }
      if (item === undefined) {
        await change.happened;
        continue;
      }
      at = item.type === "changes" ? item.cursor : item.snapshot.cursor;
      if (item.type === "resync" || item.changes.length > 0) yield item;
    }
  }

  /** Returns what follows a cursor; `undefined` when nothing has happened at all. */
  #next(range: KeyRange, cursor: Cursor): KvWatchItem | undefined {
    const file = this.#file;
    const resync = (reason: string): KvWatchItem => ({
      ...{ type: "resync", reason },
      snapshot: this.#list(range),
    });
    const [generation, text] = cursor.split(" ");
    if (generation !== file.generation) return resync(`${file.path} is another file now`);
    const from = Number(text);
    const found = this.#since(range, from);
    if (found === undefined) {
      return resync(`the history of ${file.path} does not reach back to revision ${from}`);
    }
    if (found.to === from) return undefined;
    return { type: "changes", changes: found.changes, cursor: cursorAt(file, found.to) };
  }

  #since(range: KeyRange, from: number): Batch | undefined {
    const file = this.#file;
    const last = this.#last;
    if (last?.range === range && last.from === from && last.to === file.revision) return last;
    const found = file.since(range.prefix, from);
    if (found === undefined) return undefined;
    const changes = changesInRange(range, found.events);
    this.#last = { range, from, to: found.revision, changes };
    return this.#last;
  }
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
