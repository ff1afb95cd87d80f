import { Deadline } from "./deadline.ts";
import type { Entries } from "./entries.ts";
import { StoreError, StoreUnavailableError } from "./errors.ts";
import {
  type Answer,
  ErrorCode,
  type EtcdV2Client,
  EtcdV2Error,
  type Position,
} from "./etcd_v2_client.ts";
import { readEvent } from "./etcd_v2_event.ts";
import { sleep } from "../async/sleep.ts";
import type { Cursor, Snapshot, WatchItem, WatchOptions } from "./store.ts";

/** Times of a watch, in milliseconds; see {@linkcode DEFAULT_TIMING} for what each is good for. */
export interface WatchTiming {
  readonly longestPoll: number;
  readonly shortestPoll: number;
  readonly settled: number;
  readonly firstBackoff: number;
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

/** What a watch is made of. */
export interface WatchSource {
  readonly client: EtcdV2Client;
  readonly entries: Entries;
  readonly timing: WatchTiming;
  snapshot(signal: AbortSignal): Promise<Snapshot>;
}

/** What came of one long poll. */
type PollResult =
  | { readonly type: "event"; readonly answer: Answer }
  | { readonly type: "idle" }
  /** The place is of no use any more: a new snapshot is due. */
  | { readonly type: "lost"; readonly reason: string }
  | { readonly type: "failed"; readonly error: Error };

/** Follows the directory by long polls; see {@linkcode Store.watch}. */
export async function* watchEtcdV2(
  source: WatchSource,
  cursor: Cursor,
  options: WatchOptions,
): AsyncGenerator<WatchItem, void> {
  // Ends with the store too.
  using life = new Deadline(Infinity, () => undefined, options.signal, source.client.closed);
  const { signal } = life;
  const link = new Link(source.timing, options.onState);
  const place = new Place(cursor, source.timing);
  let lost: string | undefined;

  while (!signal.aborted) {
    if (lost !== undefined) {
      let snapshot;
      try {
        snapshot = await source.snapshot(signal);
      } catch (error) {
        if (!signal.aborted) await link.broken(error, signal);
        continue;
      }
      link.stands();
      place.reset(snapshot.cursor);
      const reason = lost;
      lost = undefined;
      yield { type: "resync", reason, snapshot };
      continue;
    }
    const result = await poll(source, place, link, signal);
    if (signal.aborted) return;
    switch (result.type) {
      case "event": {
        const { answer } = result;
        place.seen(answer.node.modifiedIndex);
        const meaning = readEvent(answer, source.entries);
        if (meaning.type === "directory-gone") lost = meaning.reason;
        if (meaning.type === "change") {
          yield { type: "changes", changes: [meaning.change], cursor: place.cursor };
        }
        break;
      }
      case "idle":
        break;
      case "lost":
        lost = result.reason;
        break;
      case "failed":
        await link.broken(result.error, signal);
        break;
    }
  }
}

/** Makes one long poll from `place`, which learns what the poll shows of etcd's position. */
async function poll(
  { client, entries, timing }: WatchSource,
  place: Place,
  link: Link,
  signal: AbortSignal,
): Promise<PollResult> {
  try {
    await client.reach(signal);
  } catch (error) {
    return { type: "failed", error: error as Error };
  }
  // Leaving this function ends the poll.
  using deadline = new Deadline(place.pollTime, () => new Error("the poll's time is over"), signal);
  const started = performance.now();
  let position: Position | undefined;
  let standing: ReturnType<typeof setTimeout> | undefined;
  try {
    const opened = await client.openPoll({
      method: "GET",
      key: entries.prefix,
      query: { recursive: true, wait: true, waitIndex: place.next },
    }, deadline.signal);
    standing = setTimeout(() => link.stands(), timing.settled);
    position = opened.position;
    place.observe(position);
    if (place.isAnotherCluster(position)) {
      return { type: "lost", reason: "another etcd cluster answers" };
    }
    if (place.isAhead(position)) {
      // Either this member lags, or the cluster was set up anew and counts from the start.
      const index = await indexNow(client, entries, signal);
      if (place.isAhead({ ...position, index })) {
        return { type: "lost", reason: `etcd's index went back to ${index}` };
      }
    }
    const event = await opened.answer();
    if (event !== undefined) {
      link.stands();
      return { type: "event", answer: event };
    }
    if (performance.now() - started < timing.settled) {
      return { type: "failed", error: new StoreError("etcd ends long polls at once") };
    }
  } catch (error) {
    if (error instanceof EtcdV2Error && error.code === ErrorCode.eventIndexCleared) {
      return { type: "lost", reason: "etcd index outside history window" };
    }
    const refused = error instanceof StoreError && !(error instanceof StoreUnavailableError);
    const settled = deadline.passed || performance.now() - started >= timing.settled;
    if (refused || !settled) {
      client.doubt();
      return { type: "failed", error: error as Error };
    }
  } finally {
    clearTimeout(standing);
  }
  // Cut by etcd, by something on the way, or by our own limit: nothing happened meanwhile. Whether
  // the other end is still there is asked before the next poll, which would wait long for it.
  client.doubt();
  link.stands();
  place.idle(position);
  return { type: "idle" };
}

/** etcd's index, read through the quorum. */
async function indexNow(
  client: EtcdV2Client,
  entries: Entries,
  signal: AbortSignal,
): Promise<number | undefined> {
  try {
    const [, { index }] = await client.call({
      method: "GET",
      key: entries.prefix,
      query: { quorum: true, recursive: false, sorted: false },
    }, signal);
    return index;
  } catch (error) {
    if (error instanceof EtcdV2Error && error.code === ErrorCode.keyNotFound) {
      return error.position.index;
    }
    throw error;
  }
}

/**
 * Where a watch stands in etcd's history.
 *
 * The window of 1000 events counts every key of the cluster, so a quiet network on a busy etcd must
 * move its place on without an event of its own. A poll's headers tell etcd's index at a moment
 * when the history up to there had been searched, but what was found might have been lost with
 * the connection. So the place moves to the index of one poll only after the next poll, which
 * searched the same stretch again, has also stood in vain.
 */
class Place {
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

  /** Milliseconds the next poll may stand. */
  get pollTime(): number {
    return this.#pollTime;
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

  /** Learns from a poll's headers how busy the cluster is, and how long polls may stand. */
  observe({ index }: Position): void {
    if (index === undefined) return;
    const { shortestPoll, longestPoll, settled } = this.#timing;
    const at = performance.now();
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

/** The connection's state as the watch sees it, and how long to wait before trying again. */
class Link {
  readonly #timing: WatchTiming;
  readonly #onState: WatchOptions["onState"];
  #stands = true;
  #failures = 0;

  constructor(timing: WatchTiming, onState: WatchOptions["onState"]) {
    this.#timing = timing;
    this.#onState = onState;
  }

  stands(): void {
    this.#failures = 0;
    if (this.#stands) return;
    this.#stands = true;
    this.#onState?.(undefined);
  }

  /** Reports the break, then waits: twice as long each time, with jitter against stampedes. */
  async broken(error: unknown, signal: AbortSignal): Promise<void> {
    if (this.#stands) {
      this.#stands = false;
      this.#onState?.(error instanceof Error ? error : new Error(String(error)));
    }
    const { firstBackoff, longestBackoff } = this.#timing;
    const most = Math.min(firstBackoff * 2 ** this.#failures++, longestBackoff);
    await sleep(most * (0.5 + Math.random() / 2), signal);
  }
}

/** A position as a cursor: `48276a8f75b6a87@1234`. */
export function formatCursor({ index, cluster }: { index: number; cluster: string }): Cursor {
  return `${cluster}@${index}`;
}

function parseCursor(cursor: Cursor): { index: number; cluster: string } {
  const match = /^(.*)@(\d+)$/.exec(cursor);
  if (match === null) throw new TypeError(`"${cursor}" is not a cursor of etcd v2`);
  return { cluster: match[1]!, index: Number(match[2]) };
}
