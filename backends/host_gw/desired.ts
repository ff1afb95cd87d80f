import type { NetworkConfig } from "../../mod/config/mod.ts";
import { formatIPv4, type IPv4, type Prefix } from "../../mod/ip/mod.ts";
import type { Lease } from "../../mod/lease/mod.ts";
import type { Route } from "../../mod/sys/mod.ts";
import { type PeerRules, refusal } from "../peers.ts";
import { RTPROT_FLANNEL } from "../reconcile.ts";
import { metricOf } from "../route_metric.ts";
import { RT_SCOPE_LINK, RT_SCOPE_UNIVERSE, RT_TABLE_MAIN } from "../../mod/sys/linux_constants.ts";
import { truncate } from "../../mod/text/mod.ts";

/** What routes are computed from, besides the lease. */
export interface HostGwContext extends PeerRules {
  readonly config: Pick<NetworkConfig, "network" | "subnetLen">;
  /** The interface that peers are on. */
  readonly external: { readonly name: string; readonly index: number };
  /** What is reached by that interface without a gateway, see {@linkcode linkPrefixes}. */
  readonly link: readonly Prefix[];
}

/**
 * What an interface reaches without a gateway, judged as the kernel judges the gateway of a new
 * route (fib_check_nh() of net/ipv4/fib_semantics.c): by the routes of link scope or narrower alone.
 */
export function linkPrefixes(routes: readonly Route[], oif: number): Prefix[] {
  return routes
    .filter((route) =>
      route.oif === oif && route.gateway === undefined && route.scope >= RT_SCOPE_LINK
    )
    .map(({ destination }) => destination);
}

/** True when the address is reached without a gateway. */
export function isOnLink(address: IPv4, link: readonly Prefix[]): boolean {
  return link.some((prefix) => prefix.contains(address));
}

/** Why a lease is not programmed by host-gw; `undefined` when it is. */
export function hostGwRefusal(lease: Lease, context: HostGwContext): string | undefined {
  const { publicIP, backendType: type = "" } = lease.attributes;
  if (type !== "host-gw") {
    const shown = truncate(type, 80);
    return `is non-host-gw: type=${shown === "" ? "udp or none" : shown}`;
  }
  const { external, link } = context;
  const reason = refusal(lease, context, () => ({ oif: external.index, gateway: publicIP }));
  if (reason !== undefined) return reason;
  if (isOnLink(publicIP, link)) return undefined;
  return `has public IP ${formatIPv4(publicIP)}, which is not on the link of ${external.name} ` +
    `(${link.join(", ")}): host-gw needs all hosts on one link, vxlan does not`;
}

/** The one kernel object of a peer: a route to its subnet by the peer itself. */
export function peerRoute({ subnet, attributes }: Lease, context: HostGwContext): Route {
  return {
    destination: subnet,
    gateway: attributes.publicIP,
    oif: context.external.index,
    onlink: false,
    protocol: RTPROT_FLANNEL,
    scope: RT_SCOPE_UNIVERSE,
    table: RT_TABLE_MAIN,
    metric: metricOf(subnet, context.config),
  };
}
