import { sleep } from "../../async/sleep.ts";
import { info, notifySystemd } from "../../observe/mod.ts";
import { AmbiguousConfigError, openStore } from "../../store/open.ts";
import { type Store, StoreError, StoreFileError } from "../../store/mod.ts";
import type { StoreOptions } from "../../store/options.ts";
import { WarningLog } from "../core/warning_log.ts";

/** How often a store that is not there yet is looked for, in milliseconds. */
const RETRY = 1_000;

/**
 * Opens the store, waiting for as long as it cannot be told which one it is: etcd is down, or
 * neither of its two APIs has the config yet.
 *
 * @param onWaiting told what it waits for, each time that it has looked
 * @throws the reason of `signal` when it aborts
 * @throws {AmbiguousConfigError} when v2 and v3 hold different configs: no waiting mends that
 * @throws {StoreFileError} when the file of an embedded store cannot be used
 */
export async function reachStore(
  options: StoreOptions,
  signal: AbortSignal,
  onWaiting: (reason: string) => void = () => {},
): Promise<Store> {
  const state = new WarningLog();
  for (;;) {
    let reason: string;
    try {
      const opened = await openStore(options, { signal, owner: true });
      if ("store" in opened) {
        info(opened.note);
        return opened.store;
      }
      reason = opened.waiting;
    } catch (error) {
      signal.throwIfAborted();
      const isLasting = error instanceof AmbiguousConfigError || error instanceof StoreFileError;
      if (!(error instanceof StoreError) || isLasting) throw error;
      reason = error.message;
    }
    const message = `failed to retrieve network config: ${reason}`;
    state.report(message);
    onWaiting(message);
    notifySystemd(`STATUS=Waiting for the network config: ${reason}`);
    await sleep(RETRY, signal);
    signal.throwIfAborted();
  }
}
