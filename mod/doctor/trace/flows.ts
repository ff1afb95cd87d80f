import { formatIPv4, type IPv4, type Prefix } from "../../ip/mod.ts";
import { type Link, type Netlink, parseMac } from "../../sys/mod.ts";
import type { FlowWords } from "./least_change.ts";
import type { LocalContainer } from "./local_containers.ts";
import type { ProbeProtocol } from "./packet.ts";
import type { Entry, TraceRequest } from "./trace_tables.ts";

/** Way of the network's packets through this host. */
export interface OverlayPath {
  readonly network: Prefix;
  /** This host's. */
  readonly lease: Prefix;
  /** The interface that packets of other hosts' containers come in by: the tunnel's, or that to the hosts. */
  readonly device: string;
  /** The interface to the other hosts. */
  readonly external: string;
  /** Another host: an address in its subnet, and its own. */
  readonly peer: { readonly address: IPv4; readonly publicIP: IPv4 };
  /** The tunnel's datagrams, where they pass this host's rules. */
  readonly tunnel?: {
    readonly port: number;
    /** Bytes between UDP header and inner packet. */
    readonly headers: number;
    readonly publicIP: IPv4;
  };
  /** The bridge in the lease; absent when there is none. */
  readonly bridge?: string;
  /** A container of this host, or where there is none, an address that one could have. */
  readonly container: IPv4;
  readonly local?: LocalContainer;
}

/** A probe of one direction. */
export interface Flow {
  /**
   * `in`: from another host's container to one here; `out`: from a container here; `tunnel`: the datagrams
   * that carry them, from another host.
   */
  readonly name: "in" | "out" | "tunnel";
  readonly request: TraceRequest;
  /** Name of the interface that it has to leave by; absent when it is for this host itself. */
  readonly exit?: string;
  readonly words: FlowWords;
  /** `from 10.20.65.2 to 10.20.93.2, ICMP echo`. */
  readonly text: string;
  /** The destination may be unused, so only the rules are judged. */
  readonly isAnybody?: true;
}

/** Protocol and port of a probe. */
export interface ProbeKind {
  readonly protocol: ProbeProtocol;
  /** Destination port; of no meaning to ICMP. */
  readonly port: number;
}

/** Locally administered, unused; stands for a neighbour's unknown address. */
const NOBODY = "02:00:00:00:00:01";

/** The tunnel's datagrams from another host, to this one. */
export function tunnelFlow(path: OverlayPath, netlink: Netlink): Flow | undefined {
  const { tunnel, external, peer } = path;
  if (tunnel === undefined) return undefined;
  const { port, publicIP } = tunnel;
  return {
    name: "tunnel",
    request: {
      packet: { source: peer.publicIP, destination: publicIP, protocol: "udp", port },
      entry: entryAt(netlink, external, peer.publicIP),
    },
    words: { device: external, udpPort: port },
    text: `from ${formatIPv4(peer.publicIP)} to ${formatIPv4(publicIP)}, UDP port ${port}`,
  };
}

/** From another host's subnet to a container of this host, or to an address of its own. */
export function incomingFlow(
  path: OverlayPath,
  netlink: Netlink,
  destination: IPv4,
  kind: ProbeKind,
): Flow {
  const { device, peer, network, lease, bridge, local } = path;
  const isOwn = netlink.addresses().some(({ address }) => address === destination);
  return {
    name: "in",
    request: {
      packet: { source: peer.address, destination, ...kind },
      entry: entryAt(netlink, device, peer.address),
    },
    ...(isOwn || bridge === undefined ? {} : { exit: bridge }),
    ...(isOwn || local?.address === destination ? {} : { isAnybody: true }),
    words: { device, source: String(network), destination: String(lease) },
    text: describe(peer.address, destination, kind),
  };
}

/** From a container of this host, or where it has no bridge from the host itself. */
export function outgoingFlow(
  path: OverlayPath,
  netlink: Netlink,
  destination: IPv4,
  kind: ProbeKind,
): Flow {
  const { network, lease, bridge, container, local, device, tunnel } = path;
  const source = bridge === undefined ? lease.address : container;
  const isInside = network.contains(destination);
  return {
    name: "out",
    request: {
      packet: { source, destination, ...kind },
      entry: bridge === undefined ? { type: "send" } : entryFrom(netlink, bridge, local),
      ...(tunnel === undefined || !isInside ? {} : { carrier: tunnel }),
    },
    ...(isInside ? { exit: device } : {}),
    words: {
      ...(bridge === undefined ? {} : { device: bridge }),
      ...{
        source: String(lease),
        destination: String(isInside ? network : formatIPv4(destination)),
      },
    },
    text: describe(source, destination, kind),
  };
}

function describe(source: IPv4, destination: IPv4, { protocol, port }: ProbeKind): string {
  const what = protocol === "icmp" ? "ICMP echo" : `${protocol.toUpperCase()} port ${port}`;
  return `from ${formatIPv4(source)} to ${formatIPv4(destination)}, ${what}`;
}

/** As the interface receives it from a neighbour. */
function entryAt(netlink: Netlink, name: string, neighbour: IPv4): Entry {
  const link = netlink.link(name);
  const index = link?.index ?? 0;
  const mac = netlink.neighbours({ index }).find(({ address }) => address === neighbour)?.mac;
  return { type: "receive", name, index, to: macOf(link), from: macBytes(mac ?? NOBODY) };
}

/** As a container sends it: into the bridge's port, where it is known. */
function entryFrom(netlink: Netlink, bridge: string, local: LocalContainer | undefined): Entry {
  const link = netlink.link(bridge);
  const port = local === undefined ? link : netlink.linkByIndex(local.port);
  return {
    ...{ type: "receive", name: port?.name ?? bridge, index: port?.index ?? 0, to: macOf(link) },
    from: macBytes(local?.mac ?? NOBODY),
  };
}

function macOf(link: Link | undefined): Uint8Array {
  return macBytes(link?.mac ?? NOBODY);
}

function macBytes(mac: string): Uint8Array {
  const bytes = new Uint8Array(new ArrayBuffer(6));
  parseMac(mac, bytes, 0);
  return bytes;
}
