import { makeDirectory } from "../export/atomic_file.ts";
import { feedWatchdog, info, notifySystemd } from "../observe/mod.ts";
import { VERSION } from "../version.ts";
import type { AgentOptions } from "./options.ts";
import { serveNetwork } from "./serve_network.ts";
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
    const onAgent = (view: AgentView) => {
      views.push(view);
      return () => void views.splice(views.indexOf(view), 1);
    };
    const serveStatus = () => serveSocket(options.status, status.pages, signal);
    const feed = () => feedWatchdog({ isWell: status.isWell, signal });
    if (options.networks !== undefined) {
      await makeDirectory(options.networks.directory);
      await serveStatus();
      feed();
      const { serveNetworks } = await import("./networks.ts");
      return await serveNetworks(options, options.networks, { signal, onAgent });
    }
    return await serveNetwork(options, {
      signal,
      onLocked: serveStatus,
      onAgent: (view) => {
        onAgent(view);
        feed();
      },
    });
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
