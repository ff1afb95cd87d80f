import type { BackendContext, Inspection } from "./backend.ts";
import { HostRoutes } from "./host_routes.ts";
import { refusal } from "./peers.ts";

/** Returns the tunnel and the rules for leases of a backend that has no object for a peer on this host. */
export function plainInspection(
  { config, external, netlink }: BackendContext,
): Pick<Inspection, "tunnel" | "refusal"> {
  let host: HostRoutes | undefined;
  return {
    tunnel: { mtu: external.mtu },
    refusal(lease, own) {
      host ??= HostRoutes.read(config.network, netlink);
      return refusal(lease, { config, own, publicIP: external.publicIP, host });
    },
  };
}
