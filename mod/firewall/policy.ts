import type { Prefix } from "../ip/mod.ts";
import type { FirewallSpec } from "./firewall_spec.ts";

/** IPv4 multicast, RFC 5771, which cannot be masqueraded. */
export const MULTICAST = "224.0.0.0/4";

/** kube-proxy's mark on packets that it masquerades itself; masquerading twice breaks some kernels. */
const KUBE_PROXY_MARK = 0x4000;

/** Condition of a rule on an address of the packet. */
export interface AddressMatch {
  /** A prefix, as `Prefix` writes it. */
  readonly prefix: string;
  /** The address lies outside. @default false */
  readonly outside?: true;
}

/** Action of a rule. */
export type Verdict = "return" | "accept" | "drop" | "masquerade" | "masquerade at random";

/** One rule, independent of a tool. All of its conditions must hold. */
export interface PacketRule {
  /** Bits of the packet's mark that must be set. */
  readonly mark?: number;
  /** Name of the receiving interface. */
  readonly input?: string;
  readonly source?: AddressMatch;
  /** Name of a set that contains the packet's source. */
  readonly sourceSet?: string;
  readonly destination?: AddressMatch;
  /** UDP destination port. */
  readonly udpPort?: number;
  readonly verdict: Verdict;
}

/**
 * Returns the masquerading rules of newer flannel. Packets inside the network keep their source. Packets from the
 * network to elsewhere, and from elsewhere to containers of other hosts, get this host's address, so that replies
 * return here. Packets from elsewhere to this host's containers keep their source: their replies pass here anyway.
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

/** Returns rules that accept forwarded packets from and to the network. */
export function forwardRules({ network }: FirewallSpec): PacketRule[] {
  return [
    { source: inside(network), verdict: "accept" },
    { destination: inside(network), verdict: "accept" },
  ];
}

/**
 * Returns rules for Docker's own chains that accept packets of peers to this host's containers. Packets of the overlay
 * device may have any source of the network. Packets of the underlay, where any machine can send, must have a peer's
 * source.
 *
 * @param sets names of the sets with the peers' sources
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
 * Returns rules that drop forged packets, which only this host can detect: a peer can check only the outer source of a
 * datagram, and masquerading gives a container's datagram this host's address. Datagrams of this host itself do not
 * pass PREROUTING.
 */
export function guardRules({ network, subnet, guard }: FirewallSpec): PacketRule[] {
  if (guard === undefined) return [];
  const { port, device, isStrict } = guard;
  const elsewhere: AddressMatch = { ...inside(network), outside: true };
  const sources = [inside(subnet), ...(isStrict() ? [elsewhere] : [])];
  return [
    ...(port === undefined ? [] : [
      { source: inside(network), destination: elsewhere, udpPort: port, verdict: "drop" } as const,
    ]),
    ...(device === undefined
      ? []
      : sources.map((source) => ({ input: device, source, verdict: "drop" } as const))),
  ];
}

function inside(prefix: Prefix): AddressMatch {
  return { prefix: prefix.toString() };
}
