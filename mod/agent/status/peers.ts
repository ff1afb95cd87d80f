import type { IPv4, Prefix } from "../../ip/mod.ts";
import { type Lease, leaseKey } from "../../lease/mod.ts";
import type { AgentView } from "./view.ts";

/** The other hosts' leases, in the order of their subnets: all of them, those refused included. */
export function peerLeases({ known, lease: own }: AgentView): Lease[] {
  return Array.from(known.leases.values())
    .filter(({ subnet }) => own === undefined || !subnet.equals(own.subnet))
    .sort((a, b) => a.subnet.address - b.subnet.address || a.subnet.length - b.subnet.length);
}

/**
 * Yields an address to probe in the subnet of each peer that packets are carried to: one that the peer's kernel
 * answers for, whatever runs there. That is the address of the flannel device, the first of the subnet; backends
 * without a device have the bridge's, one higher, if Docker or CNI made one.
 */
export function* probeTargets(
  view: AgentView,
): Generator<{ readonly subnet: Prefix; readonly address: IPv4 }> {
  const { active, known, lease: own } = view;
  if (active === undefined || own === undefined) return;
  const { device, refused, peers } = active.network.status();
  // A backend that carries no packets (alloc) has no path to probe.
  if (peers === 0) return;
  for (const { subnet } of known.leases.values()) {
    if (subnet.equals(own.subnet) || refused.has(leaseKey(subnet))) continue;
    yield { subnet, address: device === undefined ? subnet.address + 1 : subnet.address };
  }
}
