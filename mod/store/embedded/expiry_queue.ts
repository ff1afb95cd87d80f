import { PERMANENT } from "../../lease/mod.ts";
import type { KvChange } from "../kv/kv.ts";

/** Longest delay of setTimeout, in milliseconds: 2^31 - 1. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

/** Milliseconds before an expiry that could not be written is tried again. */
const RETRY = 1_000;

/** An entry with a lifetime. */
export interface ExpiringEntry {
  readonly key: string;
  readonly revision: number;
}

/** An entry with its lifetime in seconds. */
export interface Lifetime extends ExpiringEntry {
  readonly ttl: number;
}

/** An {@linkcode ExpiringEntry} and its time of expiry. */
interface Expiry extends ExpiringEntry {
  /** Milliseconds on the clock of {@linkcode ExpiryQueue}. */
  readonly at: number;
}

/** Options of {@linkcode ExpiryQueue}. */
export interface ExpiryQueueOptions {
  /** Called when entries have expired: removes those of {@linkcode ExpiryQueue.due}. */
  readonly expire: () => void;
  /** Runs a step of the timer; returns false when it has failed and has to be tried again. */
  readonly attempt: (step: () => void) => boolean;
  /** Milliseconds on a clock that is never set. @default performance.now */
  readonly now?: () => number;
}

/**
 * The times at which entries expire, counted from the moment that an entry is added, with one timer for
 * the earliest.
 *
 * Cost: O(1) an entry; O(entries) when an entry expires.
 */
export class ExpiryQueue implements Disposable {
  readonly #expiries = new Map<string, Expiry>();
  readonly #options: ExpiryQueueOptions;
  readonly #now: () => number;
  /** No entry expires before; one may have been renewed since. */
  #earliest = Infinity;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(options: ExpiryQueueOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
  }

  /** Milliseconds that an entry has left; `undefined` when it has no known expiry. */
  left(key: string): number | undefined {
    const deadline = this.#expiries.get(key);
    return deadline && deadline.at - this.#now();
  }

  /** Counts these entries from now on, and forgets all others. */
  replace(entries: Iterable<Lifetime>): void {
    this.#expiries.clear();
    for (const entry of entries) this.#start(entry);
    this.#update();
  }

  /** Applies an event. */
  take(event: KvChange & { readonly revision: number }): void {
    if (event.type === "delete" || event.entry.ttl === PERMANENT) {
      this.#expiries.delete(event.type === "delete" ? event.key : event.entry.key);
      return;
    }
    const { key, ttl } = event.entry;
    const at = this.#start({ key, revision: event.revision, ttl: ttl! });
    if (at < this.#earliest) {
      this.#earliest = at;
      this.#arm(at - this.#now());
    }
  }

  /** Expires the entries that the timer has not processed yet. @throws as `expire` does */
  check(): void {
    if (this.#earliest > this.#now()) return;
    this.#update();
    if (this.#earliest <= this.#now()) this.#options.expire();
  }

  /** Entries that have expired. */
  due(): readonly ExpiringEntry[] {
    const now = this.#now();
    return [...this.#expiries.values()].filter(({ at }) => at <= now);
  }

  /** Forgets expired entries, unless they have another revision by now. */
  forget(entries: readonly ExpiringEntry[]): void {
    for (const { key, revision } of entries) {
      if (this.#expiries.get(key)?.revision === revision) this.#expiries.delete(key);
    }
    this.#update();
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#expiries.clear();
    this.#earliest = Infinity;
  }

  #start({ key, revision, ttl }: Lifetime): number {
    const at = this.#now() + ttl * 1_000;
    this.#expiries.set(key, { key, revision, at });
    return at;
  }

  /** Finds the earliest expiry, and arms the timer for it. */
  #update(): void {
    this.#earliest = Infinity;
    for (const { at } of this.#expiries.values()) this.#earliest = Math.min(this.#earliest, at);
    this.#arm(this.#earliest - this.#now());
  }

  #arm(delay: number): void {
    clearTimeout(this.#timer);
    if (delay === Infinity) return;
    this.#timer = setTimeout(() => {
      if (!this.#options.attempt(() => this.check())) this.#arm(RETRY);
      // A timer may be a little early: what was not due for check() may be due by now.
      else this.#arm(this.#earliest - this.#now());
    }, Math.min(Math.max(delay, 0), MAX_TIMEOUT_MS));
    // The timer must not keep the process alive.
    Deno.unrefTimer(this.#timer);
  }
}
