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
    let isReady = () => false;
    const { ip, port } = options.healthz;
    if (port !== 0) {
      // Imported when asked for: Deno.serve costs start-up time and memory.
      const { serveHealth } = await import("../observe/health.ts");
      serveHealth({ ip, port, isReady: () => isReady(), signal });
    }
    using _lock = await lockHost(options.subnetFile);
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
    isReady = () => agent.isReady;
    feedWatchdog({ isWell: () => true, signal });
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
