import type { Prefix } from "../ip/mod.ts";
import type { FirewallSpec } from "./firewall_spec.ts";

/** IPv4 multicast, RFC 5771: it cannot leave through a masquerade. */
export const MULTICAST = "224.0.0.0/4";

/** kube-proxy's mark on packets that it masquerades itself; twice breaks some kernels. */
const KUBE_PROXY_MARK = 0x4000;

/** What one rule asks of an address of the packet. */
export interface AddressMatch {
  /** A prefix, as `Prefix` writes it. */
  readonly prefix: string;
  /** The address lies outside. @default false */
  readonly outside?: true;
}

/** What becomes of a packet that a rule matches. */
export type Verdict = "return" | "accept" | "drop" | "masquerade" | "masquerade at random";

/** One rule, in no tool's words: all that it asks for has to hold. */
export interface PacketRule {
  /** Bits of the packet's mark that have to be set, whatever the others are. */
  readonly mark?: number;
  /** Name of the interface that the packet came in by. */
  readonly input?: string;
  readonly source?: AddressMatch;
  /** Name of the set that has the packet's source. */
  readonly sourceSet?: string;
  readonly destination?: AddressMatch;
  /** UDP port that the packet goes to. */
  readonly udpPort?: number;
  readonly verdict: Verdict;
}

/**
 * Newer flannel's rules. Inside the network the source stays; from it to elsewhere, and from
 * elsewhere to containers of other hosts, it becomes this host's address, so that replies come
 * back here. From elsewhere to our own containers it stays: replies pass here anyway.
 */
export function masqueradeRules({ network, subnet, randomFully }: FirewallSpec): PacketRule[] {
  const inNetwork = inside(network);
  const inSubnet = inside(subnet);
  const elsewhere: AddressMatch = { ...inNetwork, outside: true };
  const masquerade = randomFully ? "masquerade at random" : "masquerade";
  return [
    { mark: KUBE_PROXY_MARK, verdict: "return" },
    { source: inSubnet, destination: inNetwork, verdict: "return" },
    { source: inNetwork, destination: inSubnet, verdict: "return" },
    { source: elsewhere, destination: inSubnet, verdict: "return" },
    {
      source: inNetwork,
      destination: { prefix: MULTICAST, outside: true },
      verdict: masquerade,
    },
    { source: elsewhere, destination: inNetwork, verdict: masquerade },
  ];
}

/** Acceptance of what is forwarded from and to the network. */
export function forwardRules({ network }: FirewallSpec): PacketRule[] {
  return [
    { source: inside(network), verdict: "accept" },
    { destination: inside(network), verdict: "accept" },
  ];
}

/**
 * Acceptance of what peers send to this host's containers, for Docker's own chains. Packets that the overlay
 * device decapsulated may carry any source of the network; those that anybody on the underlay could have sent,
 * a peer's.
 *
 * @param sets names of the sets that hold the peers' sources
 */
export function overlayRules(
  { network, subnet, ingress }: FirewallSpec,
  sets: readonly string[],
): PacketRule[] {
  const { device, underlay } = ingress ?? {};
  const accept = { destination: inside(subnet), verdict: "accept" } as const;
  return [
    ...(device === undefined ? [] : [{ ...accept, input: device, source: inside(network) }]),
    ...(underlay === undefined
      ? []
      : sets.map((sourceSet) => ({ ...accept, input: underlay, sourceSet }))),
  ];
}

/**
 * Drops of forged packets, which only this host can tell. The outer source is the only thing that a peer
 * can check of a datagram, and a container's becomes this host's address by masquerading. Datagrams that this
 * host sends itself do not pass PREROUTING.
 */
export function guardRules({ network, subnet, guard }: FirewallSpec): PacketRule[] {
  if (guard === undefined) return [];
  const { port, device, isStrict } = guard;
  const elsewhere: AddressMatch = { ...inside(network), outside: true };
  const sources = [inside(subnet), ...(isStrict() ? [elsewhere] : [])];
  return [
    { source: inside(network), destination: elsewhere, udpPort: port, verdict: "drop" },
    ...(device === undefined
      ? []
      : sources.map((source) => ({ input: device, source, verdict: "drop" } as const))),
  ];
}

function inside(prefix: Prefix): AddressMatch {
  return { prefix: prefix.toString() };
}
