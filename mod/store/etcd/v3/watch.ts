import type { IEvent, IWatchCreateRequest, IWatchResponse } from "etcd3";
import type { KeyReader } from "../../entries.ts";
import { StoreError } from "../../errors.ts";
import type { EtcdV3Caller } from "./client.ts";
import { configMissing, prefixRange, toRawEntry } from "./keys.ts";
import { sleep } from "../../../async/sleep.ts";
import type { Cursor, WatchItem, WatchOptions } from "../../store.ts";
import { type LinkTiming, reconnectDelay } from "../../watch_link.ts";

/** Options of {@linkcode watchPrefix}. */
export interface PrefixWatchOptions<S> extends WatchOptions {
  /** Reads everything anew, after lost history. */
  readonly snapshot: (signal: AbortSignal) => Promise<S>;
}

const TIMING: LinkTiming = { firstBackoff: 100, longestBackoff: 5_000 };

/** Where a watch stands, over all its connections. */
interface Position {
  /** Everything up to this revision has been seen. */
  revision: bigint;
  /** The cluster whose revisions they are, once known. */
  cluster: string | undefined;
}

/** Thrown inside when what happened since the position cannot be told any more. */
class HistoryLost extends Error {}

/**
 * Watches everything below a prefix, over as many connections as it takes.
 *
 * etcd keeps the order: an event is never sent after one of a later revision, and all events of one
 * revision come in one response. The revision of the last response thus says where to go on.
 */
export async function* watchPrefix<C, S extends { readonly cursor: Cursor }>(
  client: EtcdV3Caller,
  entries: KeyReader<C>,
  cursor: Cursor,
  options: PrefixWatchOptions<S>,
): AsyncGenerator<WatchItem<C, S>> {
  const { signal, snapshot, onState } = options;
  const at: Position = { revision: BigInt(cursor), cluster: undefined };
  let lost: string | undefined;
  let failures = 0;
  // How often in a row, no watch having stood for long in between.
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
        const now = await snapshot(signal);
        report(undefined);
        at.revision = BigInt(now.cursor);
        at.cluster = undefined;
        const reason = lost;
        lost = undefined;
        yield { type: "resync", reason, snapshot: now };
      }
      const responses = client.watch(request(entries.prefix, at.revision), signal);
      for await (const response of responses) {
        if (await isCreated(client, entries, at, response, signal)) {
          since = Date.now();
          report(undefined);
        }
        const changes = advance(entries, at, response);
        if (changes.length > 0) yield { type: "changes", changes, cursor: String(at.revision) };
      }
    } catch (error) {
      if (signal.aborted) return;
      // One that broke as soon as it stood was no success.
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
  { prefix }: Pick<KeyReader<unknown>, "prefix">,
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
    // A member that lags behind its cluster is told apart by asking the cluster.
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

/** Takes a response in: moves the position past it and says what it changes. */
function advance<C>(entries: KeyReader<C>, at: Position, response: IWatchResponse): C[] {
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
  const changes: C[] = [];
  for (const event of events) {
    const change = toChange(entries, event);
    if (change !== undefined) changes.push(change);
  }
  at.revision = BigInt(events.at(-1)!.kv.mod_revision);
  return changes;
}

function toChange<C>(entries: KeyReader<C>, event: IEvent): C | undefined {
  const entry = toRawEntry(event.kv);
  return event.type === "Delete"
    ? entries.remove(entry.key, configMissing(entry.key))
    : entries.put(entry);
}
