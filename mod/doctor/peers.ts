import { formatIPv4, type IPv4 } from "../ip/mod.ts";
import type { Lease, StoredNodeRecord } from "../lease/mod.ts";

/** Another host's lease, as this host sees it. */
export interface PeerLease {
  readonly lease: Lease;
  /** The node record of its agent; upstream flannel keeps none. */
  readonly agent: StoredNodeRecord | undefined;
  /** Why its packets are not carried: "is non-vxlan: type=udp or none". */
  readonly refused: string | undefined;
}

/** Returns `host101 (172.28.128.101), 10.20.65.0/24`. */
export function nameOf(peer: Pick<PeerLease, "lease" | "agent">): string {
  return `${hostNameOf(peer)}, ${peer.lease.subnet}`;
}

/** Returns `host101 (172.28.128.101)`. */
export function hostNameOf({ lease, agent }: Pick<PeerLease, "lease" | "agent">): string {
  const address = formatIPv4(lease.attributes.publicIP);
  return agent === undefined ? address : `${agent.record.hostname} (${address})`;
}

/** The command against the lease of a host that is gone. */
export const EVICT =
  "flanneld lease evict PUBLIC-IP   # for a host that is gone, which keeps its lease for a day";

/**
 * Returns addresses in a peer's subnet that its kernel owns: the base on the backend's device, the next one on Docker's
 * bridge.
 */
export function echoAddresses({ subnet }: Pick<Lease, "subnet">): readonly [IPv4, IPv4] {
  return [subnet.address, subnet.address + 1];
}
