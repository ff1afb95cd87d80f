import { warning } from "../../observe/mod.ts";
import { SysError } from "../../sys/mod.ts";
import type { LeasedNetwork } from "../../docker/mod.ts";
import type { AgentView } from "../status/view.ts";

/** The part of an agent's view that Docker's networks take. */
type View = Pick<AgentView, "name" | "isReady" | "lease" | "active">;

/**
 * Serves Docker's network plugin for the networks of this host's agents, until the signal aborts. A socket that
 * cannot be served is no reason to leave a host without network.
 */
export async function serveDocker(
  views: () => readonly View[],
  signal: AbortSignal,
): Promise<void> {
  const [{ serveDockerPlugin }, { SocketError }] = await Promise.all([
    import("../../docker/mod.ts"),
    import("../../observe/serve/unix_server.ts"),
  ]);
  try {
    await serveDockerPlugin({ leases: () => leasedNetworks(views()), signal });
  } catch (error) {
    if (!(error instanceof SocketError || error instanceof SysError)) throw error;
    warning(`No networks for Docker (-docker-plugin): ${error.message}`);
  }
}

/** Returns the networks whose lease, routes and firewall rules are in place. */
export function leasedNetworks(views: readonly View[]): LeasedNetwork[] {
  return views.flatMap(({ name, isReady, lease, active }) =>
    isReady && lease !== undefined && active !== undefined
      ? [{
        ...{ name, network: active.config.network },
        ...{ subnet: lease.subnet, mtu: active.network.mtu },
      }]
      : []
  );
}
