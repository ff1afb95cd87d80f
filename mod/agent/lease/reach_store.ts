import { info, notifySystemd } from "../../observe/mod.ts";
import { openStore } from "../../store/open.ts";
import { type NetworkStore, StoreError } from "../../store/mod.ts";
import type { StoreOptions } from "../../store/options.ts";
import { insist } from "../core/insist.ts";
import { WarningLog } from "../core/warning_log.ts";

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
): Promise<NetworkStore> {
  const state = new WarningLog();
  const { store, note } = await insist(signal, async () => {
    const opened = await openStore(options, { signal, owner: true });
    if ("waiting" in opened) throw new StoreError(opened.waiting);
    return opened;
  }, (reason) => {
    const message = `failed to retrieve network config: ${reason}`;
    state.report(message);
    onWaiting(message);
    notifySystemd(`STATUS=Waiting for the network config: ${reason}`);
  });
  info(note);
  return store;
}
