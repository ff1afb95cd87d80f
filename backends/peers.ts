import type { NetworkConfig } from "../mod/config/mod.ts";
import { formatIPv4, type IPv4, isClassE, isGlobalUnicast } from "../mod/ip/mod.ts";
import { type Lease, leaseKey } from "../mod/lease/mod.ts";
import { info, warning } from "../mod/observe/mod.ts";
import { describeObstacle, type HostObstacle, type HostRoutes } from "./host_routes.ts";

/** A lease longer than this leaves no room for a gateway and a container. */
const MAX_LEASE_LENGTH = 30;

/** The host and the network that {@linkcode refusal} checks a lease for. */
export interface PeerRules {
  readonly config: Pick<NetworkConfig, "network" | "subnetLen">;
  readonly own: Lease;
  /** This host's public IP: a lease that leads back here is not a peer's. */
  readonly publicIP: IPv4;
  /** Routes and networks of this host, which a route to a lease must not replace. */
  readonly host: HostRoutes;
}

/** Next hop of a lease's route, for the comparison with a route that exists already. */
export interface RouteTarget {
  readonly oif: number;
  readonly gateway?: IPv4;
}

/**
 * Returns why a lease must not be programmed, whatever the backend; `undefined` when it may.
 *
 * The store is shared with whoever can write to it: one bad value must not take a route away from
 * the host's own containers or from networks outside the overlay.
 *
 * @param targetOf next hop of the lease's own route: another program's route with the same next hop is no
 * obstacle. @default a next hop that no other route has
 */
export function refusal(
  lease: Lease,
  rules: PeerRules,
  targetOf?: () => RouteTarget | undefined,
): string | undefined {
  const { config, own, publicIP, host } = rules;
  const { subnet, attributes } = lease;
  if (!config.network.containsPrefix(subnet)) return `is outside Network ${config.network}`;
  if (subnet.length > MAX_LEASE_LENGTH) return `is longer than /${MAX_LEASE_LENGTH}`;
  if (subnet.overlaps(own.subnet)) return `overlaps our own subnet ${own.subnet}`;
  if (subnet.length < config.subnetLen) {
    return `is larger than a subnet of this network, /${config.subnetLen}`;
  }
  // Where hosts have addresses inside Network: the tunnel would lead into itself.
  if (subnet.contains(publicIP)) return `contains our own public IP ${formatIPv4(publicIP)}`;
  const met = host.obstacle(subnet, (route) => leadsTo(route, subnet.key, targetOf));
  if (met !== undefined) return describeObstacle(met);
  if (subnet.contains(attributes.publicIP)) {
    return `contains its own public IP ${formatIPv4(attributes.publicIP)}`;
  }
  return publicIPRefusal(attributes.publicIP, rules);
}

/** Returns why no other host can have this public IP; `undefined` when one can. */
function publicIPRefusal(
  address: IPv4,
  { publicIP, host }: Pick<PeerRules, "publicIP" | "host">,
): string | undefined {
  if (address === publicIP) return `carries our own public IP ${formatIPv4(address)}`;
  const has = `has public IP ${formatIPv4(address)}`;
  if (!isGlobalUnicast(address) || isClassE(address)) return `${has}, which no host can have`;
  if (host.hasAddress(address)) return `${has}, which is an address of this host`;
  const network = host.edgeOf(address);
  if (network === undefined) return undefined;
  return `${has}, the ${
    address === network.address ? "network" : "broadcast"
  } address of ${network}`;
}

function leadsTo(
  { prefix, oif, gateway }: HostObstacle,
  key: number,
  targetOf: (() => RouteTarget | undefined) | undefined,
): boolean {
  const target = prefix.key === key ? targetOf?.() : undefined;
  return target !== undefined && oif === target.oif && gateway === target.gateway;
}

/** Logs a change of a peer. @param verb `added`, `changed` or `removed` */
export function logPeer(verb: string, { subnet, attributes }: Lease): void {
  const publicIP = formatIPv4(attributes.publicIP);
  const via = verb === "removed" ? "" : ` via ${publicIP}`;
  info(`Subnet ${verb}: ${subnet}${via}`, { subnet, publicIP });
}

/** The refused leases. Logs each lease and reason once. */
export class Refusals {
  readonly #reasons = new Map<string, string>();

  /** Lease key to reason. */
  get reasons(): ReadonlyMap<string, string> {
    return this.#reasons;
  }

  /** Records the verdict on a lease. @returns the verdict */
  note(lease: Lease, reason: string | undefined): string | undefined {
    if (reason === undefined && this.#reasons.size === 0) return undefined;
    const key = leaseKey(lease.subnet);
    if (reason === undefined) this.#reasons.delete(key);
    else if (this.#reasons.get(key) !== reason) {
      this.#reasons.set(key, reason);
      warning(`Ignoring subnet ${lease.subnet}: it ${reason}`, {
        ...{ subnet: lease.subnet, reason },
        publicIP: formatIPv4(lease.attributes.publicIP),
      });
    }
    return reason;
  }

  /** Removes a lease. */
  forget(lease: Lease): void {
    this.#reasons.delete(leaseKey(lease.subnet));
  }

  /** Removes all but these lease keys. */
  retain(keys: { has(key: string): boolean }): void {
    for (const key of this.#reasons.keys()) if (!keys.has(key)) this.#reasons.delete(key);
  }
}
