import { PERMANENT } from "../../lease/mod.ts";
import type { FileEvent } from "./file.ts";

/** The longest that setTimeout takes, in milliseconds: 2^31 - 1. */
const LONGEST_TIMEOUT = 2 ** 31 - 1;

/** How soon an expiry that could not be written is tried again, in milliseconds. */
const RETRY = 1_000;

/** An entry whose lifetime is counted. */
export interface Mortal {
  readonly key: string;
  readonly revision: number;
}

/** An entry with its lifetime in seconds. */
export interface Lifetime extends Mortal {
  readonly ttl: number;
}

/** A {@linkcode Mortal} and when it runs out. */
interface Deadline extends Mortal {
  /** Milliseconds on the clock of {@linkcode Lifetimes}. */
  readonly at: number;
}

/** Options of {@linkcode Lifetimes}. */
export interface LifetimesOptions {
  /** Called when something has run out: removes what {@linkcode Lifetimes.due} tells. */
  readonly expire: () => void;
  /** Runs a step of the timer's; false when it has failed and is to be tried again. */
  readonly attempt: (step: () => void) => boolean;
  /** Milliseconds on a clock that is never set. @default performance.now */
  readonly now?: () => number;
}

/**
 * When entries run out: counted from the moment an entry is taken, with one timer for the earliest.
 *
 * Cost: O(1) an entry; O(entries) when something runs out.
 */
export class Lifetimes implements Disposable {
  readonly #deadlines = new Map<string, Deadline>();
  readonly #options: LifetimesOptions;
  readonly #now: () => number;
  /** No entry runs out before; one may have been renewed since. */
  #earliest = Infinity;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(options: LifetimesOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
  }

  /** Milliseconds that an entry has left; `undefined` when it has no end that is known. */
  left(key: string): number | undefined {
    const deadline = this.#deadlines.get(key);
    return deadline && deadline.at - this.#now();
  }

  /** Counts these entries from now on, and forgets all others. */
  replace(entries: Iterable<Lifetime>): void {
    this.#deadlines.clear();
    for (const entry of entries) this.#start(entry);
    this.#settle();
  }

  /** Takes what has happened to an entry. */
  take(event: FileEvent): void {
    if (event.type === "delete" || event.entry.ttl === PERMANENT) {
      this.#deadlines.delete(event.type === "delete" ? event.key : event.entry.key);
      return;
    }
    const { key, ttl } = event.entry;
    const at = this.#start({ key, revision: event.revision, ttl: ttl! });
    if (at < this.#earliest) {
      this.#earliest = at;
      this.#arm(at - this.#now());
    }
  }

  /** Expires what has run out and the timer has not come to yet. @throws as `expire` does */
  check(): void {
    if (this.#earliest > this.#now()) return;
    this.#settle();
    if (this.#earliest <= this.#now()) this.#options.expire();
  }

  /** What has run out. */
  due(): readonly Mortal[] {
    const now = this.#now();
    return [...this.#deadlines.values()].filter(({ at }) => at <= now);
  }

  /** Forgets what has run out, unless it has another revision by now. */
  forget(entries: readonly Mortal[]): void {
    for (const { key, revision } of entries) {
      if (this.#deadlines.get(key)?.revision === revision) this.#deadlines.delete(key);
    }
    this.#settle();
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#deadlines.clear();
    this.#earliest = Infinity;
  }

  #start({ key, revision, ttl }: Lifetime): number {
    const at = this.#now() + ttl * 1_000;
    this.#deadlines.set(key, { key, revision, at });
    return at;
  }

  /** Finds the earliest, and waits for it. */
  #settle(): void {
    this.#earliest = Infinity;
    for (const { at } of this.#deadlines.values()) this.#earliest = Math.min(this.#earliest, at);
    this.#arm(this.#earliest - this.#now());
  }

  #arm(delay: number): void {
    clearTimeout(this.#timer);
    if (delay === Infinity) return;
    this.#timer = setTimeout(() => {
      if (!this.#options.attempt(() => this.check())) this.#arm(RETRY);
      else if (this.#earliest > this.#now()) this.#arm(this.#earliest - this.#now());
    }, Math.min(Math.max(delay, 0), LONGEST_TIMEOUT));
    // It is no reason to stay.
    Deno.unrefTimer(this.#timer);
  }
}
