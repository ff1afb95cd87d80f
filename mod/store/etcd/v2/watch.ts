import { Deadline } from "../../deadline.ts";
import { StoreError, StoreUnavailableError } from "../../errors.ts";
import {
  type Answer,
  ErrorCode,
  type EtcdV2Client,
  EtcdV2Error,
  isKeyNotFound,
  type Position,
} from "./client.ts";
import type { EventMeaning } from "./event.ts";
import { Place, type WatchTiming } from "./watch_position.ts";
import type { Cursor, WatchItem, WatchOptions } from "../../store.ts";
import { WatchLink } from "../../watch_link.ts";

/** What a watch is made of. */
export interface WatchSource<C, S extends { readonly cursor: Cursor }> extends PollSource {
  /** Says what an event means. */
  read(event: Answer): EventMeaning<C>;
  snapshot(signal: AbortSignal): Promise<S>;
}

/** What a long poll is made of. */
interface PollSource {
  readonly client: EtcdV2Client;
  /** The directory that is watched. */
  readonly prefix: string;
  readonly timing: WatchTiming;
}

/** What came of one long poll. */
type PollResult =
  | { readonly type: "event"; readonly answer: Answer }
  | { readonly type: "idle" }
  /** The place is of no use any more: a new snapshot is due. */
  | { readonly type: "lost"; readonly reason: string }
  | { readonly type: "failed"; readonly error: Error };

/** Follows the directory by long polls; see {@linkcode Store.watch}. */
export async function* watchEtcdV2<C, S extends { readonly cursor: Cursor }>(
  source: WatchSource<C, S>,
  cursor: Cursor,
  options: WatchOptions,
): AsyncGenerator<WatchItem<C, S>, void> {
  // Ends with the store too.
  using life = new Deadline(Infinity, () => undefined, options.signal, source.client.closed);
  const { signal } = life;
  const link = new WatchLink(source.timing, options.onState);
  const place = new Place(cursor, source.timing);
  let lost: string | undefined;
  // How often in a row, no poll having been well in between.
  let losses = 0;

  while (!signal.aborted) {
    if (lost !== undefined) {
      let snapshot;
      try {
        snapshot = await source.snapshot(signal);
      } catch (error) {
        if (!signal.aborted) await link.broken(error, signal);
        continue;
      }
      // Where history is lost again and again, every read succeeds; the pauses grow all the same.
      if (losses < 2) link.stands();
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
        losses = 0;
        place.seen(answer.node.modifiedIndex);
        const meaning = source.read(answer);
        if (meaning.type === "directory-gone") lost = meaning.reason;
        if (meaning.type === "change") {
          yield { type: "changes", changes: [meaning.change], cursor: place.cursor };
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

/** Makes one long poll from `place`, which learns what the poll shows of etcd's position. */
async function poll(
  { client, prefix, timing }: PollSource,
  place: Place,
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
    place.pollTime,
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
      const index = await indexNow(client, prefix, signal);
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
