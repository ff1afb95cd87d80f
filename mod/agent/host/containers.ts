import { type IPv4, Prefix } from "../../ip/mod.ts";
import type { EchoOutcome, Prober } from "../../probe/mod.ts";
import type { Link, Netlink } from "../../sys/mod.ts";

/** Neighbours to send an echo request to, and addresses to try when no neighbour answers. */
const MOST_NEIGHBOURS = 16;
const MOST_UNKNOWN = 32;
/** Milliseconds to wait for echo replies of this host's own containers. */
const TIMEOUT_MS = 250;

/** A bridge of this host that has an address of the lease. */
export interface ContainerBridge {
  readonly link: Link;
  /** The host's address on it: the containers' gateway. */
  readonly address: IPv4;
  /** Network of that address: the containers' addresses. */
  readonly subnet: Prefix;
  /** Number of its ports, which is about that of running containers. */
  readonly ports: number;
}

/**
 * Finds the bridge with containers: docker0, cni0, or one of the operator. Of several, returns the one with
 * most ports.
 *
 * @param lease this host's
 */
export function containerBridge(
  netlink: Pick<Netlink, "links" | "addresses">,
  lease: Prefix,
): ContainerBridge | undefined {
  const inside = netlink.addresses().filter(({ address }) => lease.contains(address));
  const links = netlink.links();
  return inside.flatMap(({ index, address, prefixLength }): ContainerBridge[] => {
    const link = links.find((link) => link.index === index && link.kind === "bridge");
    if (link === undefined) return [];
    const ports = links.filter(({ master }) => master === index).length;
    const subnet = new Prefix(address, Math.max(prefixLength, lease.length));
    return [{ link, address, subnet, ports }];
  }).sort((a, b) => b.ports - a.ports)[0];
}

/**
 * Finds a container on a bridge that answers echo requests, without Docker's help. The neighbour table names
 * containers that have sent packets beyond the bridge. Where none of them answers, tries the addresses that
 * Docker and CNI assign first.
 *
 * @returns the lowest address that answers
 * @throws the signal's reason when it aborts
 */
export async function findContainer(
  netlink: Pick<Netlink, "neighbours">,
  { link, address, subnet, ports }: ContainerBridge,
  prober: Pick<Prober, "echo">,
  signal: AbortSignal,
): Promise<IPv4 | undefined> {
  if (ports === 0) return undefined;
  const neighbours = netlink.neighbours({ index: link.index })
    .map((neighbour) => neighbour.address)
    .filter((neighbour) => subnet.contains(neighbour) && neighbour !== address)
    .sort((a, b) => a - b).slice(0, MOST_NEIGHBOURS);
  const answering = async (addresses: readonly IPv4[]) => {
    const outcomes = await prober.echo(addresses, { timeout: TIMEOUT_MS, signal });
    return addresses[outcomes.findIndex(({ type }: EchoOutcome) => type === "reply")];
  };
  return await answering(neighbours) ??
    await answering(firstAddresses(subnet, MOST_UNKNOWN).filter((one) => one !== address));
}

/** Returns the first host addresses of a subnet. */
export function firstAddresses({ address, last }: Prefix, count: number): IPv4[] {
  const length = Math.max(0, Math.min(count, last - address - 1));
  return Array.from({ length }, (_, i) => address + 1 + i);
}

/**
 * Returns the source address of this host for packets into the network: an address of the lease, on the
 * backend's device if there is one, else on a bridge.
 */
export function overlaySource(
  netlink: Pick<Netlink, "addresses">,
  lease: Prefix,
): IPv4 | undefined {
  // The device has the first address of the lease.
  return netlink.addresses().map(({ address }) => address)
    .filter((address) => lease.contains(address)).sort((a, b) => a - b)[0];
}
