import { readSubnetEnv } from "../export/mod.ts";
import { findExternalInterface, hostIdentity } from "../host/mod.ts";
import type { AgentRecord } from "../lease/mod.ts";
import { feedWatchdog, info, notifySystemd } from "../observe/mod.ts";
import { Netlink } from "../sys/mod.ts";
import { VERSION } from "../version.ts";
import { Agent } from "./agent.ts";
import { lockHost } from "./host_lock.ts";
import type { AgentOptions } from "./options.ts";
import { reachStore } from "./reach_store.ts";
import { StatusPages } from "./status_pages.ts";
import { serveSocket, serveTcp } from "./status_server.ts";
import type { AgentView } from "./status_view.ts";

/**
 * Runs the agent: `flanneld` without a subcommand.
 *
 * The kernel's data path stays as it is when the agent ends, and so does the lease: a restart
 * loses no packet.
 *
 * @param signal ends the agent in order
 * @returns the exit code
 * @throws {AlreadyRunningError} when another agent works for the same subnet file
 * @throws {InterfaceError} when no interface fits
 * @throws {DuplicatePublicIPError} when another live host has our public IP
 * @throws {HealthError} when the health endpoint cannot listen
 * @throws {StoreError | SysError | FirewallError} when the host or the store refuse what is needed
 */
export async function runAgent(options: AgentOptions, signal: AbortSignal): Promise<number> {
  info(`flanneld ${VERSION} starting`);
  const stopping = () => {
    info("Exiting...");
    notifySystemd("STOPPING=1");
  };
  signal.addEventListener("abort", stopping, { once: true });
  try {
    const views: AgentView[] = [];
    const status = new StatusPages({
      views: () => views,
      isReady: () => views.length > 0 && views.every(({ isReady }) => isReady),
      ...options.status,
      signal,
    });
    await serveTcp(options, status.pages, signal);
    using _lock = await lockHost(options.subnetFile);
    await serveSocket(options.status, status.pages, signal);
    using netlink = Netlink.open();
    const external = await findExternalInterface(options.interface, netlink);
    await using store = await reachStore(options.store, signal);
    await using agent = new Agent({
      options,
      store,
      netlink,
      external,
      record: agentRecord(),
      former: await readSubnetEnv(options.subnetFile),
      signal,
    });
    views.push(agent.view);
    feedWatchdog({ isWell: status.isWell, signal });
    return await agent.run();
  } catch (error) {
    if (signal.aborted) {
      info("Exiting cleanly...");
      return 0;
    }
    throw error;
  } finally {
    signal.removeEventListener("abort", stopping);
  }
}

function agentRecord(): AgentRecord {
  return {
    ...hostIdentity(),
    version: VERSION,
    started: new Date().toISOString(),
    instance: crypto.randomUUID(),
  };
}
