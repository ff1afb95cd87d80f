import type { Position } from "./client.ts";
import type { Cursor } from "../../store.ts";

/** Times of a watch, in milliseconds; see {@linkcode DEFAULT_TIMING} for the reasons. */
export interface WatchTiming {
  /** A long poll is given up after this time, and made anew. */
  readonly longestPoll: number;
  /** The first poll's time, and the least that a busy cluster brings it down to. */
  readonly shortestPoll: number;
  /** A poll that ends after this time without an event was well. */
  readonly settled: number;
  /** Longest pause after a first failure; it doubles with each further one ... */
  readonly firstBackoff: number;
  /** ... up to this. */
  readonly longestBackoff: number;
}

/** What the agent uses. */
export const DEFAULT_TIMING: WatchTiming = {
  // A connection that died silently is noticed when the poll ends, so no poll stands longer than
  // this; nor than the idle limit of common proxies (nginx and load balancers: 60 s; haproxy: 50).
  // 5,000 hosts cost etcd 110 requests a second without a body.
  longestPoll: 45_000,
  shortestPoll: 1_000,
  // etcd sends a poll's headers and an event that it already has in one breath; a poll that ends
  // after this without an event had none, whoever ended it. One that ends earlier has failed.
  settled: 500,
  firstBackoff: 100,
  longestBackoff: 5_000,
};

/**
 * Foreign events that may pass while a poll stands. etcd keeps 1000 events of all keys together;
 * the cursor trails by up to two polls (see {@linkcode Place}), and traffic comes in bursts.
 */
const EVENTS_PER_POLL = 300;

/**
 * Where a watch stands in etcd's history.
 *
 * The window of 1000 events counts every key of the cluster, so a quiet network on a busy etcd must
 * move its place on without an event of its own. A poll's headers tell etcd's index at a moment
 * when the history up to there had been searched, but what was found might have been lost with
 * the connection. So the place moves to the index of one poll only after the next poll, which
 * searched the same stretch again, has also stood in vain.
 */
export class Place {
  readonly #timing: WatchTiming;
  #cluster = "";
  #next = 0;
  /** Index of the poll before, when that stood in vain. */
  #idle: number | undefined;
  /** What the traffic is measured from. */
  #observed: { readonly index: number; readonly at: number } | undefined;
  #pollTime: number;

  constructor(cursor: Cursor, timing: WatchTiming) {
    this.#timing = timing;
    this.#pollTime = timing.shortestPoll;
    this.reset(cursor);
  }

  /** First index not known yet. */
  get next(): number {
    return this.#next;
  }

  /** The place as a cursor. */
  get cursor(): Cursor {
    return formatCursor({ index: this.#next - 1, cluster: this.#cluster });
  }

  /** Milliseconds the next poll may stand; a little less each time, so that agents spread out. */
  get pollTime(): number {
    return this.#pollTime * (0.9 + Math.random() / 10);
  }

  /** Goes to a snapshot's place. */
  reset(cursor: Cursor): void {
    const { index, cluster } = parseCursor(cursor);
    this.#next = index + 1;
    this.#cluster = cluster;
    this.#idle = undefined;
  }

  /** Moves on past an event. */
  seen(index: number): void {
    this.#next = index + 1;
    this.#idle = undefined;
  }

  /** Takes note that a poll stood in vain. */
  idle(position: Position | undefined): void {
    const before = this.#idle;
    this.#idle = position?.index;
    if (before !== undefined) this.#next = Math.max(this.#next, before + 1);
  }

  /** True when the history is that of another cluster. */
  isAnotherCluster({ cluster }: Position): boolean {
    return cluster !== "" && this.#cluster !== "" && cluster !== this.#cluster;
  }

  /** True when `position` is before this place, so that a poll would wait for the past. */
  isAhead({ index }: Position): boolean {
    return index !== undefined && index + 1 < this.#next;
  }

  /**
   * Learns from a poll's headers how busy the cluster is, and how long polls may stand.
   *
   * @param at time of a monotonic clock in milliseconds
   */
  observe({ index }: Position, at = performance.now()): void {
    if (index === undefined) return;
    const { shortestPoll, longestPoll, settled } = this.#timing;
    const before = this.#observed;
    if (before !== undefined && at - before.at < settled) return;
    this.#observed = { index, at };
    if (before === undefined) return;
    const time = EVENTS_PER_POLL * (at - before.at) / Math.max(1, index - before.index);
    // While a poll stands it misses nothing. Where traffic is too dense for polls of any length,
    // the longest ones cost least: a snapshot follows each.
    this.#pollTime = time < shortestPoll
      ? longestPoll
      : Math.min(time, 2 * this.#pollTime, longestPoll);
  }
}

/** A position as a cursor: `48276a8f75b6a87@1234`. */
export function formatCursor({ index, cluster }: { index: number; cluster: string }): Cursor {
  return `${cluster}@${index}`;
}

/** @throws {TypeError} when another store gave the cursor */
function parseCursor(cursor: Cursor): { index: number; cluster: string } {
  const match = /^(.*)@(\d+)$/.exec(cursor);
  if (match === null) throw new TypeError(`"${cursor}" is not a cursor of etcd v2`);
  return { cluster: match[1]!, index: Number(match[2]) };
}
