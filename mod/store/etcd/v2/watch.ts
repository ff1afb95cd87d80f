import { Deadline, linkedSignal } from "../../deadline.ts";
import { StoreError, StoreUnavailableError } from "../../errors.ts";
import {
  type Answer,
  ErrorCode,
  type EtcdV2Client,
  EtcdV2Error,
  isKeyNotFound,
  type Position,
} from "./client.ts";
import { readEvent } from "./event.ts";
import { WatchPosition, type WatchTiming } from "./watch_position.ts";
import type { Cursor, KeyRange, KvWatchItem, Listing, WatchOptions } from "../../kv/kv.ts";
import { WatchLink } from "../../watch_link.ts";

/** The inputs of a watch. */
export interface WatchSource {
  readonly client: EtcdV2Client;
  readonly range: KeyRange;
  readonly timing: WatchTiming;
  /** Lists the range again, after lost history. */
  list(signal: AbortSignal): Promise<Listing>;
}

/** Outcome of one long poll. */
type PollResult =
  | { readonly type: "event"; readonly answer: Answer }
  | { readonly type: "idle" }
  /** The position is of no use any more: a new listing is due. */
  | { readonly type: "lost"; readonly reason: string }
  | { readonly type: "failed"; readonly error: Error };

/** Follows a range by long polls; see {@linkcode Kv.watch}. */
export async function* watchEtcdV2(
  source: WatchSource,
  cursor: Cursor,
  options: WatchOptions,
): AsyncGenerator<KvWatchItem, void> {
  // Ends with the client too.
  using life = linkedSignal(options.signal, source.client.closed);
  const { signal } = life;
  const link = new WatchLink(source.timing, options.onState);
  const at = new WatchPosition(cursor, source.timing);
  let lost: string | undefined;
  // Losses in a row, with no poll that succeeded in between.
  let losses = 0;

  while (!signal.aborted) {
    if (lost !== undefined) {
      let snapshot;
      try {
        snapshot = await source.list(signal);
      } catch (error) {
        if (!signal.aborted) await link.broken(error, signal);
        continue;
      }
      // Where history is lost again and again, every listing succeeds; the pauses still grow.
      if (losses < 2) link.stands();
      at.reset(snapshot.cursor);
      const reason = lost;
      lost = undefined;
      yield { type: "resync", reason, snapshot };
      continue;
    }
    const result = await poll(source, at, link, signal);
    if (signal.aborted) return;
    switch (result.type) {
      case "event": {
        const { answer } = result;
        losses = 0;
        at.seen(answer.node.modifiedIndex);
        const meaning = readEvent(answer, source.range);
        if (meaning.type === "directory-gone") lost = meaning.reason;
        if (meaning.type === "change") {
          yield { type: "changes", changes: [meaning.change], cursor: at.cursor };
        }
        break;
      }
      case "idle":
        losses = 0;
        break;
      case "lost":
        lost = result.reason;
        if (losses++ > 0) await link.pause(signal);
        break;
      case "failed":
        await link.broken(result.error, signal);
        break;
    }
  }
}

/** Makes one long poll from `at`, and records what its headers show of etcd's position. */
async function poll(
  { client, range: { prefix }, timing }: WatchSource,
  at: WatchPosition,
  link: WatchLink,
  signal: AbortSignal,
): Promise<PollResult> {
  try {
    await client.reach(signal);
  } catch (error) {
    return { type: "failed", error: error as Error };
  }
  // Leaving this function ends the poll.
  using deadline = new Deadline(
    at.pollTime,
    () => new Error("the poll's time is over"),
    signal,
    client.dropped,
  );
  const started = performance.now();
  let position: Position | undefined;
  let standing: ReturnType<typeof setTimeout> | undefined;
  try {
    const opened = await client.openPoll({
      method: "GET",
      key: prefix,
      query: { recursive: true, wait: true, waitIndex: at.next },
    }, deadline.signal);
    standing = setTimeout(() => link.stands(), timing.settled);
    position = opened.position;
    at.observe(position);
    if (at.isAnotherCluster(position)) {
      return { type: "lost", reason: "another etcd cluster answers" };
    }
    if (at.isAhead(position)) {
      // Either this member lags, or the cluster was set up again and counts from the start.
      const index = await indexNow(client, prefix, signal);
      if (at.isAhead({ ...position, index })) {
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
      client.recheckEndpoint();
      return { type: "failed", error: error as Error };
    }
  } finally {
    clearTimeout(standing);
  }
  // Ended by etcd, by a proxy, or by the limit of this poll: nothing happened meanwhile. The client checks
  // the endpoint before the next poll, which would wait long for a dead one.
  client.recheckEndpoint();
  link.stands();
  at.idle(position);
  return { type: "idle" };
}

/** etcd's index, read through the quorum. */
async function indexNow(
  client: EtcdV2Client,
  prefix: string,
  signal: AbortSignal,
): Promise<number | undefined> {
  try {
    const [, { index }] = await client.call({
      method: "GET",
      key: prefix,
      query: { quorum: true, recursive: false, sorted: false },
    }, signal);
    return index;
  } catch (error) {
    if (isKeyNotFound(error)) {
      return error.position.index;
    }
    throw error;
  }
}
