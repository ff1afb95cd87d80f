import type { NetworkConfig } from "../mod/config/mod.ts";
import { formatIPv4, type IPv4, isGlobalUnicast, Prefix } from "../mod/ip/mod.ts";
import { type Lease, leaseKey } from "../mod/lease/mod.ts";
import { info, warning } from "../mod/observe/mod.ts";
import type { Netlink } from "../mod/sys/mod.ts";

/** A lease longer than this leaves no room for a gateway and a container. */
const LONGEST_LEASE = 30;

/** Whom a lease is judged for. */
export interface PeerRules {
  readonly config: Pick<NetworkConfig, "network">;
  readonly own: Lease;
  /** Our public IP: a lease that leads back to us is not a peer's. */
  readonly publicIP: IPv4;
  /** Networks that this host is on, see {@linkcode connectedNetworks}. */
  readonly connected: readonly Prefix[];
}

/**
 * The networks that this host's interfaces are on, the backend's own device left out. A route to a
 * lease that meets one would take the place of the kernel's own: eth0's, or that of a docker0 which
 * has not been restarted since the host's subnet changed. One dump of the addresses.
 */
export function connectedNetworks(netlink: Netlink, device: number | undefined): Prefix[] {
  return netlink.addresses()
    .filter(({ index, prefixLength }) => index !== device && prefixLength < 32)
    .map(({ address, prefixLength }) => new Prefix(address, prefixLength));
}

/**
 * Why a lease must not be programmed, whatever the backend; `undefined` when it may.
 *
 * The store is shared with whoever can write to it: one bad value must not take a route away from
 * the host's own containers or from networks outside the overlay.
 */
export function refusal(lease: Lease, rules: PeerRules): string | undefined {
  const { config, own, publicIP, connected } = rules;
  const { subnet, attributes } = lease;
  if (!config.network.containsPrefix(subnet)) return `is outside Network ${config.network}`;
  if (subnet.length > LONGEST_LEASE) return `is longer than /${LONGEST_LEASE}`;
  if (subnet.overlaps(own.subnet)) return `overlaps our own subnet ${own.subnet}`;
  // Where hosts have addresses inside Network: the tunnel would lead into itself.
  if (subnet.contains(publicIP)) return `contains our own public IP ${formatIPv4(publicIP)}`;
  const met = connected.find((network) => network.overlaps(subnet));
  if (met !== undefined) return `meets ${met}, which an interface of this host is on`;
  const address = formatIPv4(attributes.publicIP);
  if (subnet.contains(attributes.publicIP)) return `contains its own public IP ${address}`;
  if (attributes.publicIP === publicIP) return `carries our own public IP ${address}`;
  if (!isGlobalUnicast(attributes.publicIP)) {
    return `has public IP ${address}, which no host can have`;
  }
  return undefined;
}

/** Logs that packets go to a peer, go there otherwise, or no longer. @param verb `added` */
export function tellPeer(verb: string, { subnet, attributes }: Lease): void {
  const publicIP = formatIPv4(attributes.publicIP);
  const via = verb === "removed" ? "" : ` via ${publicIP}`;
  info(`Subnet ${verb}: ${subnet}${via}`, { subnet, publicIP });
}

/** Remembers which leases were refused, and says so once per lease and reason. */
export class Refusals {
  readonly #reasons = new Map<string, string>();

  /** Lease key to reason. */
  get reasons(): ReadonlyMap<string, string> {
    return this.#reasons;
  }

  /** Notes the verdict on a lease; passes it on. */
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

  /** Forgets a lease that is gone. */
  forget(lease: Lease): void {
    this.#reasons.delete(leaseKey(lease.subnet));
  }

  /** Forgets all but these lease keys. */
  retain(keys: { has(key: string): boolean }): void {
    for (const key of this.#reasons.keys()) if (!keys.has(key)) this.#reasons.delete(key);
  }
}
