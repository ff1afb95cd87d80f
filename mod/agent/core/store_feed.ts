import { sleep } from "../../async/sleep.ts";
import { info } from "../../observe/mod.ts";
import {
  type Cursor,
  type Snapshot,
  type Store,
  StoreError,
  type WatchItem,
} from "../../store/mod.ts";
import { WarningLog } from "./warning_log.ts";

/** How soon a store that did not answer is asked again, in milliseconds. */
const RETRY = 2_000;

/**
 * Reads everything that the store holds, waiting for as long as it cannot be had.
 *
 * @param onTrouble is told why, each time
 * @throws the reason of `signal` when it aborts
 */
export async function firstSnapshot(
  store: Store,
  signal: AbortSignal,
  onTrouble: (message: string) => void,
): Promise<Snapshot> {
  for (;;) {
    try {
      return await store.snapshot({ signal });
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof StoreError)) throw error;
      onTrouble(`failed to retrieve network config: ${error.message}`);
      await sleep(RETRY, signal);
      signal.throwIfAborted();
    }
  }
}

/**
 * Hands on all that happens in the store after `cursor`, and logs when it cannot be followed.
 *
 * @param connection told of that
 */
export async function followStore(
  store: Store,
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
