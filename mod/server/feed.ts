import { abortable } from "../async/abortable.ts";
import { sleep } from "../async/sleep.ts";
import { StoreError, type Watched, type WatchOptions } from "../store/mod.ts";

/** Changes that are kept for polls; a client that is further behind receives a listing. */
const HISTORY = 10_000;

/** Milliseconds before a watch that ended is opened again. */
const RETRY = 1_000;

/** Source of a {@linkcode Feed}. */
export interface FeedSource<C, S extends { readonly cursor: string }> {
  snapshot(options: { readonly signal: AbortSignal }): Promise<S>;
  watch(cursor: string, options: WatchOptions): AsyncIterable<Watched<C, S>>;
}

/** State that a {@linkcode Feed} keeps of its source, and the entries that it passes on. */
export interface FeedState<C, S, E> {
  /** Replaces the state. @returns the changes */
  replace(snapshot: S): E[];
  /** Applies a change. @returns `undefined` when it changes nothing */
  apply(change: C): E | undefined;
}

/** Result of a poll: changes since its cursor, or `lost` when they are not kept any more. */
export type Polled<E> = "lost" | { readonly entries: readonly E[]; readonly cursor: string };

/** A snapshot of the source, and the feed's cursor from which a poll misses nothing that it lacks. */
export interface Reading<S> {
  readonly snapshot: S;
  readonly cursor: string;
}

/**
 * One watch of a store, for any number of clients that poll.
 *
 * Cursors are the feed's own: `EPOCH.NUMBER`. A new feed has another epoch, and knows no cursor of an earlier one.
 */
export class Feed<C, S extends { readonly cursor: string }, E> implements Disposable {
  readonly #source: FeedSource<C, S>;
  readonly #state: FeedState<C, S, E>;
  readonly #history: number;
  readonly #epoch = crypto.randomUUID().slice(0, 8);
  readonly #closing = new AbortController();
  readonly #woken = new Set<() => void>();
  readonly #entries: E[] = [];
  /** Number of the first of {@linkcode #entries}. */
  #first = 0;
  #watching: AbortController | undefined;
  #broken: Error | undefined;
  #reading: Promise<Reading<S>> | undefined;
  #nextReading: Promise<Reading<S>> | undefined;

  /** @param history changes that are kept. @default 10000 */
  constructor(source: FeedSource<C, S>, state: FeedState<C, S, E>, history = HISTORY) {
    this.#source = source;
    this.#state = state;
    this.#history = history;
  }

  /** True while the state is what the source holds, but for what is on its way. */
  get isLive(): boolean {
    return this.#watching !== undefined && this.#broken === undefined;
  }

  /** A poll from here misses nothing that the state lacks. */
  get cursor(): string {
    return `${this.#epoch}.${this.#first + this.#entries.length}`;
  }

  /**
   * Reads the source. Callers during a reading share the next one.
   *
   * @throws {StoreError} as the source does
   */
  async read(signal?: AbortSignal): Promise<Reading<S>> {
    this.#nextReading ??= this.#readAfter(this.#reading);
    return await abortable(this.#nextReading, signal);
  }

  /** Makes sure that there is a state. */
  async ready(signal?: AbortSignal): Promise<void> {
    if (!this.isLive) await this.read(signal);
  }

  /**
   * Waits for what happens after a cursor.
   *
   * @param signal ends the waiting, without an error
   * @throws {StoreError} when the source cannot be followed
   */
  async poll(cursor: string, signal: AbortSignal): Promise<Polled<E>> {
    let at = this.#numberOf(cursor);
    for (;;) {
      if (at === undefined || at < this.#first || this.#watching === undefined) return "lost";
      const entries = this.#entries.slice(at - this.#first);
      if (entries.length > 0 || signal.aborted) return { entries, cursor: this.cursor };
      if (this.#broken !== undefined) throw this.#broken;
      at = this.#first + this.#entries.length;
      await this.#change(signal);
    }
  }

  /** Ends the watch, and with an error the polls. */
  [Symbol.dispose](): void {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort(new StoreError("the server is shutting down"));
    this.#broken = this.#closing.signal.reason;
    this.#watching?.abort();
    this.#wake();
  }

  #numberOf(cursor: string): number | undefined {
    const match = /^([0-9a-f]{8})\.(\d{1,15})$/.exec(cursor);
    if (match === null || match[1] !== this.#epoch) return undefined;
    const number = Number(match[2]);
    return number <= this.#first + this.#entries.length ? number : undefined;
  }

  async #readAfter(former: Promise<Reading<S>> | undefined): Promise<Reading<S>> {
    await former?.catch(() => {});
    this.#reading = this.#nextReading;
    this.#nextReading = undefined;
    const { signal } = this.#closing;
    signal.throwIfAborted();
    const snapshot = await this.#source.snapshot({ signal });
    // A late answer is dropped: nothing would end a watch that began now.
    signal.throwIfAborted();
    const changes = this.#state.replace(snapshot);
    // Pending events of the watch are older than the snapshot, unless that brought nothing new.
    if (changes.length > 0 || !this.isLive) this.#follow(snapshot.cursor);
    this.#broken = undefined;
    this.#append(changes);
    return { snapshot, cursor: this.cursor };
  }

  /** Follows the source from another position. */
  #follow(cursor: string): void {
    this.#watching?.abort();
    const watching = this.#watching = new AbortController();
    this.#watch(cursor, watching.signal).catch((error) => {
      if (!watching.signal.aborted) this.#break(error);
    });
  }

  async #watch(cursor: string, signal: AbortSignal): Promise<void> {
    const onState = (error: Error | undefined) => {
      if (signal.aborted) return;
      if (error === undefined) this.#broken = undefined;
      else this.#break(error);
    };
    let at = cursor;
    while (!signal.aborted) {
      for await (const item of this.#source.watch(at, { signal, onState })) {
        if (signal.aborted) return;
        if (item.type === "resync") {
          at = item.snapshot.cursor;
          this.#append(this.#state.replace(item.snapshot));
        } else {
          at = item.cursor;
          const entries = item.changes.map((change) => this.#state.apply(change));
          this.#append(entries.filter((entry) => entry !== undefined));
        }
      }
      // It ends by itself only with the store.
      await sleep(RETRY, signal);
    }
  }

  #append(entries: readonly E[]): void {
    if (entries.length === 0) return;
    for (const entry of entries) this.#entries.push(entry);
    // Not for every change: that would move the whole array each time.
    const excess = this.#entries.length - this.#history;
    if (excess > this.#history / 4) {
      this.#entries.splice(0, excess);
      this.#first += excess;
    }
    this.#wake();
  }

  #break(error: Error): void {
    this.#broken = error;
    this.#wake();
  }

  #wake(): void {
    for (const wake of this.#woken) wake();
    this.#woken.clear();
  }

  /** Waits until something happens, or the signal aborts. */
  async #change(signal: AbortSignal): Promise<void> {
    await new Promise<void>((resolve) => {
      const wake = () => {
        signal.removeEventListener("abort", wake);
        this.#woken.delete(wake);
        resolve();
      };
      this.#woken.add(wake);
      signal.addEventListener("abort", wake);
    });
  }
}
