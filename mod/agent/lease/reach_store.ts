import { sleep } from "../../async/sleep.ts";
import { info, notifySystemd } from "../../observe/mod.ts";
import { AmbiguousConfigError, openStore } from "../../store/open.ts";
import { type Store, StoreError, StoreFileError } from "../../store/mod.ts";
import type { StoreOptions } from "../../store/options.ts";
import { WarningLog } from "../core/warning_log.ts";

/** Milliseconds between two attempts to find the store. */
const RETRY = 1_000;

/**
 * Opens the store. Retries while etcd is down or neither of its APIs has the config.
 *
 * @param onWaiting called with the reason after each failed attempt
 * @throws the reason of `signal` when it aborts
 * @throws {AmbiguousConfigError} when v2 and v3 hold different configs, which a retry does not fix
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
