import type { IEvent, IWatchCreateRequest, IWatchResponse } from "etcd3";
import { StoreError } from "../../errors.ts";
import type { EtcdV3Caller } from "./client.ts";
import { missingText, prefixRange, toEntry } from "./keys.ts";
import { sleep } from "../../../async/sleep.ts";
import {
  changesInRange,
  type Cursor,
  type KeyRange,
  type KvChange,
  type KvWatchItem,
  type Listing,
  type WatchOptions,
} from "../../kv/kv.ts";
import { type LinkTiming, reconnectDelay } from "../../watch_link.ts";

/** Options of {@linkcode watchRange}. */
export interface RangeWatchOptions extends WatchOptions {
  /** Lists the range again, after lost history. */
  readonly list: () => Promise<Listing>;
}

const TIMING: LinkTiming = { firstBackoff: 100, longestBackoff: 5_000 };

/** Position of a watch, over all its connections. */
interface Position {
  /** Everything up to this revision has been seen. */
  revision: bigint;
  /** The cluster whose revisions they are, once known. */
  cluster: string | undefined;
}

/** The history since the position is lost. */
class HistoryLost extends Error {}

/**
 * Watches a range, over as many connections as it takes.
 *
 * etcd keeps the order: an event is never sent after one of a later revision, and all events of one
 * revision come in one response. The watch continues after the revision of the last response.
 */
export async function* watchRange(
  client: EtcdV3Caller,
  range: KeyRange,
  cursor: Cursor,
  options: RangeWatchOptions,
): AsyncGenerator<KvWatchItem, void> {
  const { signal, list, onState } = options;
  const at: Position = { revision: BigInt(cursor), cluster: undefined };
  let lost: string | undefined;
  let failures = 0;
  // Losses in a row, with no watch that lasted long in between.
  let losses = 0;
  let broken = false;
  const report = (error: StoreError | undefined) => {
    if (broken === (error !== undefined)) return;
    broken = !broken;
    onState?.(error);
  };
  const pause = () => sleep(reconnectDelay(TIMING, failures++), signal);
  while (!signal.aborted) {
    let since: number | undefined;
    try {
      if (lost !== undefined) {
        const now = await list();
        report(undefined);
        at.revision = BigInt(now.cursor);
        at.cluster = undefined;
        const reason = lost;
        lost = undefined;
        yield { type: "resync", reason, snapshot: now };
      }
      const responses = client.watch(request(range.prefix, at.revision), signal);
      for await (const response of responses) {
        if (await isCreated(client, range, at, response, signal)) {
          since = Date.now();
          report(undefined);
        }
        const changes = changesInRange(range, advance(at, response));
        if (changes.length > 0) yield { type: "changes", changes, cursor: String(at.revision) };
      }
    } catch (error) {
      if (signal.aborted) return;
      // A watch that broke at once was no success.
      if (since !== undefined && Date.now() - since > TIMING.longestBackoff) {
        failures = 0;
        losses = 0;
      }
      if (error instanceof HistoryLost) {
        lost = error.message;
        if (losses++ > 0) await pause();
        continue;
      }
      if (!(error instanceof StoreError)) throw error;
      report(error);
      await pause();
    }
  }
}

function request(prefix: string, revision: bigint): IWatchCreateRequest {
  return {
    ...prefixRange(prefix),
    start_revision: String(revision + 1n),
    // A quiet prefix on a busy etcd would otherwise fall behind the next compaction.
    progress_notify: true,
  };
}

/**
 * True for the answer to the creation of a watch, unless it is on the wrong history.
 *
 * etcd takes a start in the future without a word and stays silent until it is reached; after a
 * loss of its data that would be much later, or never.
 */
async function isCreated(
  client: EtcdV3Caller,
  { prefix }: KeyRange,
  at: Position,
  response: IWatchResponse,
  signal: AbortSignal,
): Promise<boolean> {
  if (!response.created) return false;
  const { cluster_id, revision } = response.header;
  if (at.cluster !== undefined && at.cluster !== cluster_id) {
    throw new HistoryLost(`another etcd cluster answers (${cluster_id} instead of ${at.cluster})`);
  }
  at.cluster = cluster_id;
  if (BigInt(revision) < at.revision) {
    // A linearizable read distinguishes a member that lags behind its cluster.
    const { key } = prefixRange(prefix);
    const { header } = await client.call("range", { key, count_only: true }, signal);
    if (BigInt(header.revision) < at.revision) {
      throw new HistoryLost(
        `etcd went back to revision ${header.revision} from ${at.revision}: its data were replaced`,
      );
    }
  }
  return true;
}

/** Moves the position past a response, and returns its changes. */
function advance(at: Position, response: IWatchResponse): KvChange[] {
  const { compact_revision, events, header } = response;
  if (compact_revision !== "0") {
    throw new HistoryLost(
      `etcd has compacted its history up to revision ${compact_revision}, ` +
        `past ${at.revision} where the watch stood`,
    );
  }
  if (events.length === 0) {
    // A progress notice.
    if (!response.created && BigInt(header.revision) > at.revision) {
      at.revision = BigInt(header.revision);
    }
    return [];
  }
  at.revision = BigInt(events.at(-1)!.kv.mod_revision);
  return events.map(toChange);
}

function toChange({ type, kv }: IEvent): KvChange {
  const entry = toEntry(kv);
  return type === "Delete"
    ? { type: "delete", key: entry.key, missing: missingText(entry.key) }
    : { type: "put", entry };
}
