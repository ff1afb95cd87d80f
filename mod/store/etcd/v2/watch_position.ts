import type { Position } from "./client.ts";
import type { Cursor } from "../../kv/kv.ts";

/** Times of a watch, in milliseconds; see {@linkcode DEFAULT_TIMING} for the reasons. */
export interface WatchTiming {
  /** Longest time of a poll; the next one follows. */
  readonly longestPoll: number;
  /** Time of the first poll, and the shortest on a busy cluster. */
  readonly shortestPoll: number;
  /** A poll that ends after this time without an event has succeeded. */
  readonly settled: number;
  /** Longest pause after a first failure; it doubles with each further one ... */
  readonly firstBackoff: number;
  /** ... up to this. */
  readonly longestBackoff: number;
}

/** Times of the agent. */
export const DEFAULT_TIMING: WatchTiming = {
  // A connection that died silently is noticed when the poll ends, so no poll stands longer than
  // this; nor than the idle limit of common proxies (nginx and load balancers: 60 s; haproxy: 50).
  // 5,000 hosts cost etcd 110 requests a second without a body.
  longestPoll: 45_000,
  shortestPoll: 1_000,
  // etcd sends a poll's headers together with an event that it already has. A poll that ends after this
  // time without an event had none; a poll that ends earlier has failed.
  settled: 500,
  firstBackoff: 100,
  longestBackoff: 5_000,
};

/**
 * Events of other keys that may pass during one poll. etcd keeps 1000 events of all keys together;
 * the cursor trails by up to two polls (see {@linkcode WatchPosition}), and traffic comes in bursts.
 */
const EVENTS_PER_POLL = 300;

/**
 * Position of a watch in etcd's history.
 *
 * The window of 1000 events counts every key of the cluster, so a quiet network on a busy etcd must
 * advance its position without an event of its own. The headers of a poll hold etcd's index at a moment
 * when the history up to there had been searched, but an event that was found may have been lost with
 * the connection. So the position advances to the index of one poll only after the next poll, which
 * searched the same part again, has also ended without an event.
 */
export class WatchPosition {
  readonly #timing: WatchTiming;
  #cluster = "";
  #next = 0;
  /** Index of the previous poll, when that ended without an event. */
  #idle: number | undefined;
  /** Start of the measurement of the traffic. */
  #observed: { readonly index: number; readonly at: number } | undefined;
  #pollTime: number;

  constructor(cursor: Cursor, timing: WatchTiming) {
    this.#timing = timing;
    this.#pollTime = timing.shortestPoll;
    this.reset(cursor);
  }

  /** First index that the watch has not seen. */
  get next(): number {
    return this.#next;
  }

  /** The position as a cursor. */
  get cursor(): Cursor {
    return formatCursor({ index: this.#next - 1, cluster: this.#cluster });
  }

  /** Milliseconds of the next poll, shortened at random so that agents spread out. */
  get pollTime(): number {
    return this.#pollTime * (0.9 + Math.random() / 10);
  }

  /** Moves to the position of a listing. */
  reset(cursor: Cursor): void {
    const { index, cluster } = parseCursor(cursor);
    this.#next = index + 1;
    this.#cluster = cluster;
    this.#idle = undefined;
  }

  /** Advances past an event. */
  seen(index: number): void {
    this.#next = index + 1;
    this.#idle = undefined;
  }

  /** Records that a poll ended without an event. */
  idle(position: Position | undefined): void {
    const before = this.#idle;
    this.#idle = position?.index;
    if (before !== undefined) this.#next = Math.max(this.#next, before + 1);
  }

  /** True when the history is that of another cluster. */
  isAnotherCluster({ cluster }: Position): boolean {
    return cluster !== "" && this.#cluster !== "" && cluster !== this.#cluster;
  }

  /** True when `position` is before this position, so that a poll would wait for the past. */
  isAhead({ index }: Position): boolean {
    return index !== undefined && index + 1 < this.#next;
  }

  /**
   * Adapts the time of polls to how busy the cluster is by a poll's headers.
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
    // An open poll misses nothing. Where traffic is too dense for polls of any length, the longest polls
    // cost least: a listing follows each.
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
