import { readSubnetEnv } from "../../export/mod.ts";
import { findExternalInterface, hostIdentity } from "../../host/mod.ts";
import type { NodeRecord } from "../../lease/mod.ts";
import { Netlink } from "../../sys/mod.ts";
import { VERSION } from "../../version.ts";
import { Agent } from "../core/agent.ts";
import { HostRegistry } from "../host/host_registry.ts";
import { lockHost } from "../host/host_lock.ts";
import type { AgentOptions } from "../core/options.ts";
import { reachStore } from "../lease/reach_store.ts";
import type { AgentView } from "../status/view.ts";

/** Options of {@linkcode serveNetwork}. */
export interface ServeOptions {
  readonly signal: AbortSignal;
  /** Called once this process holds the lock of the subnet file. */
  readonly onLocked?: () => Promise<void>;
  /** Called with the reason while the store cannot be opened. */
  readonly onWaiting?: (reason: string) => void;
  /** Called with the view of the started agent. */
  readonly onAgent: (view: AgentView) => void;
}

/**
 * Serves one network until the signal aborts. Kernel objects and the lease then stay.
 *
 * @throws the signal's reason
 * @throws {AlreadyRunningError} when another agent works for the same subnet file
 * @throws {ClashError} when another network of this host overlaps
 * @throws {InterfaceError} when no interface fits
 * @throws {DuplicatePublicIPError} when another live host has this host's public IP
 * @throws {StoreError | SysError | FirewallError} when the host or the store refuses a required step
 */
export async function serveNetwork(options: AgentOptions, serve: ServeOptions): Promise<never> {
  const { signal } = serve;
  using _lock = await lockHost(options.subnetFile);
  await serve.onLocked?.();
  using netlink = Netlink.open();
  const external = await findExternalInterface(options.interface, netlink);
  await using store = await reachStore(options.store, signal, serve.onWaiting);
  await using registry = new HostRegistry({
    holder: holderOf(options),
    subnetFile: options.subnetFile,
  });
  await using agent = new Agent({
    options,
    store,
    netlink,
    external,
    record: nodeRecord(),
    former: await readSubnetEnv(options.subnetFile),
    registry,
    signal,
  });
  serve.onAgent(agent.view);
  return await agent.run();
}

function holderOf({ networkName, subnetFile }: AgentOptions): string {
  return networkName === undefined
    ? `the network of flanneld ${Deno.pid} with subnet file ${subnetFile}`
    : `network "${networkName}" of flanneld ${Deno.pid}`;
}

function nodeRecord(): NodeRecord {
  return {
    ...hostIdentity(),
    version: VERSION,
    started: new Date().toISOString(),
    instance: crypto.randomUUID(),
  };
}
