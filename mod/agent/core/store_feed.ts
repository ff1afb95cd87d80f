import { info } from "../../observe/mod.ts";
import type { Cursor, NetworkStore, Snapshot, WatchItem } from "../../store/mod.ts";
import { insist } from "./insist.ts";
import { WarningLog } from "./warning_log.ts";

/**
 * Reads a snapshot of the store; retries until the store answers.
 *
 * @param onWarning called with the reason of each failed attempt
 * @throws the reason of `signal` when it aborts
 * @throws {StoreFileError} when the file of an embedded store cannot be used
 */
export async function firstSnapshot(
  store: NetworkStore,
  signal: AbortSignal,
  onWarning: (message: string) => void,
): Promise<Snapshot> {
  return await insist(
    signal,
    () => store.snapshot({ signal }),
    (reason) => onWarning(`failed to retrieve network config: ${reason}`),
  );
}

/**
 * Calls `onItem` for each change of the store after `cursor`, and logs when the watch is interrupted.
 *
 * @param connection log of interruptions
 */
export async function followStore(
  store: NetworkStore,
  cursor: Cursor,
  signal: AbortSignal,
  onItem: (item: WatchItem) => void,
  connection: WarningLog = new WarningLog(),
): Promise<void> {
  const onState = (error: Error | undefined) => {
    if (error !== undefined) connection.report(`Watch subnets: ${error.message}`);
    else if (connection.clear()) info("Watch subnets: connected again");
  };
  for await (const item of store.watch(cursor, { signal, onState })) onItem(item);
}
