import { hostGwRefusal, linkPrefixes } from "../../backends/host_gw/desired.ts";
import { HostRoutes } from "../../backends/host_routes.ts";
import { refusal } from "../../backends/peers.ts";
import { vxlanRefusal } from "../../backends/vxlan/desired.ts";
import type { NetworkConfig } from "../config/mod.ts";
import type { ExternalInterface } from "../host/mod.ts";
import { formatIPv4, type IPv4 } from "../ip/mod.ts";
import type { Lease, StoredNodeRecord } from "../lease/mod.ts";
import type { Netlink } from "../sys/mod.ts";
import { RT_TABLE_MAIN } from "../sys/linux_constants.ts";

/** Another host's lease, as this host sees it. */
export interface PeerLease {
  readonly lease: Lease;
  /** The record that its agent keeps; flannel's keep none. */
  readonly agent: StoredNodeRecord | undefined;
  /** Why its packets are not carried: "is non-vxlan: type=udp or none". */
  readonly refused: string | undefined;
}

/** What {@linkcode peersOf} goes by. */
export interface PeersRequest {
  readonly config: NetworkConfig;
  readonly leases: readonly Lease[];
  readonly agents: readonly StoredNodeRecord[];
  readonly own: Lease;
  readonly external: ExternalInterface;
  readonly netlink: Netlink;
  /** Index of the backend's device, when there is one. */
  readonly device: number | undefined;
}

/** All leases but our own, judged by the rules of the backend. */
export function peersOf(request: PeersRequest): PeerLease[] {
  const { leases, agents, own } = request;
  const judge = judgeOf(request);
  const records = new Map(agents.map((agent) => [agent.publicIP, agent]));
  return leases.filter(({ subnet }) => !subnet.equals(own.subnet)).map((lease) => ({
    lease,
    agent: records.get(lease.attributes.publicIP),
    refused: judge(lease),
  }));
}

function judgeOf(
  { config, own, external, netlink, device }: PeersRequest,
): (lease: Lease) => string | undefined {
  const { publicIP } = external;
  const deviceMac = device === undefined ? undefined : netlink.linkByIndex(device)?.mac;
  const rules = { config, own, publicIP, host: HostRoutes.read(config.network, netlink) };
  switch (config.backend.type) {
    case "vxlan":
      return (lease) => vxlanRefusal(lease, { ...rules, mac: deviceMac });
    case "host-gw": {
      const link = linkPrefixes(netlink.routes({ table: RT_TABLE_MAIN }), external.index);
      return (lease) => hostGwRefusal(lease, { ...rules, external, link });
    }
    default:
      return (lease) => refusal(lease, rules);
  }
}

/** `host101 (172.28.128.101), 10.20.65.0/24`. */
export function nameOf(peer: Pick<PeerLease, "lease" | "agent">): string {
  return `${hostNameOf(peer)}, ${peer.lease.subnet}`;
}

/** `host101 (172.28.128.101)`. */
export function hostNameOf({ lease, agent }: Pick<PeerLease, "lease" | "agent">): string {
  const address = formatIPv4(lease.attributes.publicIP);
  return agent === undefined ? address : `${agent.record.hostname} (${address})`;
}

/**
 * Addresses in a peer's subnet that its kernel owns: the base on the device of vxlan or udp, the next
 * one on Docker's bridge.
 */
export function echoAddresses({ subnet }: Pick<Lease, "subnet">): readonly [IPv4, IPv4] {
  return [subnet.address, subnet.address + 1];
}
