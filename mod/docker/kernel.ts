/**
 * The kernel objects of Docker's networks: a bridge for each network, a veth pair for each container.
 *
 * They are the plugin's only memory: the bridge is named after the network's id, one end of the pair after the
 * endpoint's, and the alias of that end has the container's address. An agent that starts finds all of them.
 *
 * @module
 */
import { formatIPv4, gatewayOf, type IPv4, Prefix } from "../ip/mod.ts";
import { BRIDGE, type Link, type Netlink, VETH } from "../sys/mod.ts";
import { IFA_F_PERMANENT, RT_SCOPE_UNIVERSE } from "../sys/linux_constants.ts";
import { DockerPluginError } from "./errors.ts";
import {
  formatNetworkAddress,
  type NetworkAddress,
  parseNetworkAddress,
} from "./protocol/fields.ts";
import type { NewEndpoint } from "./protocol/network.ts";

/** Digits of an id that fit into a device's name of 15 bytes. */
const DIGITS = 12;

const BRIDGE_PREFIX = "fl-";
const HOST_PREFIX = "flh";
const CONTAINER_PREFIX = "flc";

/** Begins the alias of a bridge, before the network's id. */
const NETWORK_ALIAS = "Docker network ";
/** Begins the alias of a pair's end on the host, before the container's address. */
const ENDPOINT_ALIAS = "Docker endpoint ";

/** Name of a network's bridge. */
export function bridgeName(networkId: string): string {
  return BRIDGE_PREFIX + networkId.slice(0, DIGITS);
}

/** Names of the two ends of a container's interface, before Docker moves and renames one. */
export function endNames(
  endpointId: string,
): { readonly host: string; readonly container: string } {
  const digits = endpointId.slice(0, DIGITS);
  return { host: HOST_PREFIX + digits, container: CONTAINER_PREFIX + digits };
}

/** The hardware address of an interface with an IPv4 address; locally administered, as Docker's own are. */
export function macOf(address: IPv4): string {
  const hex = address.toString(16).padStart(8, "0");
  return `02:42:${hex.match(/../g)!.join(":")}`;
}

/** Bridges and veth pairs of Docker's networks. */
export class DockerLinks {
  readonly #netlink: Netlink;

  constructor(netlink: Netlink) {
    this.#netlink = netlink;
  }

  /**
   * Checks that no other bridge of the host has addresses of a pool.
   *
   * @param networkId network that may have them; absent for one that is still to be created
   * @throws {DockerPluginError} with the bridge's name
   */
  requireUnused(pool: Prefix, networkId?: string): void {
    const own = networkId === undefined ? undefined : bridgeName(networkId);
    const links = new Map(this.#netlink.links().map((link) => [link.index, link]));
    for (const { index, address, prefixLength } of this.#netlink.addresses()) {
      const link = links.get(index);
      if (link?.kind !== "bridge" || link.name === own) continue;
      const used = new Prefix(address, prefixLength);
      if (!used.overlaps(pool)) continue;
      if (link.name.startsWith(BRIDGE_PREFIX)) {
        throw new DockerPluginError(
          `Docker network ${link.name.slice(BRIDGE_PREFIX.length)} has ${used} already: remove ` +
            "it, or give each network a part of the lease with --subnet",
        );
      }
      throw new DockerPluginError(
        `${link.name} has ${formatIPv4(address)}/${prefixLength} of this host's lease: ` +
          "start dockerd without --bip, or remove that address",
      );
    }
  }

  /**
   * Creates the bridge of a network, or completes it: the gateway's address, the MTU, up.
   *
   * @throws {DockerPluginError} when another bridge has addresses of the pool
   * @throws {SysError} when the kernel refuses
   */
  ensureBridge(networkId: string, pool: Prefix, mtu: number): Link {
    this.requireUnused(pool, networkId);
    const name = bridgeName(networkId);
    const bridge = this.#netlink.link(name) ??
      this.#netlink.createLink({
        // A bridge without an address of its own changes it with its ports.
        ...{ name, mtu, mac: macOf(gatewayOf(pool)), kind: BRIDGE, attributes: {} },
      });
    if (bridge.kind !== "bridge") {
      throw new DockerPluginError(`device ${name} exists and is no bridge: remove it`);
    }
    this.#netlink.disableIPv6(bridge);
    this.#netlink.setLink(bridge.index, { up: true, mtu, alias: NETWORK_ALIAS + networkId });
    const object = {
      ...{ index: bridge.index, address: gatewayOf(pool), prefixLength: pool.length },
      ...{ scope: RT_SCOPE_UNIVERSE, flags: IFA_F_PERMANENT },
    };
    const [failure] = this.#netlink.execute([{ op: "replace", kind: "address", object }]).failures;
    if (failure !== undefined) throw failure.error;
    return bridge;
  }

  /** Removes the bridge of a network. @returns whether there was one */
  removeBridge(networkId: string): boolean {
    const link = this.#netlink.link(bridgeName(networkId));
    return link?.kind === "bridge" && this.#netlink.deleteLink(link.index);
  }

  /**
   * Creates the interface of a container, or creates it again: dockerd repeats a call that broke off.
   *
   * @throws {SysError} when the kernel refuses
   */
  createEndpoint(endpoint: NewEndpoint, bridge: Link, mtu: number): void {
    const { host: name, container } = endNames(endpoint.endpointId);
    this.removeEndpoint(endpoint.endpointId);
    const mac = endpoint.mac === "" ? macOf(endpoint.address) : endpoint.mac;
    const host = this.#netlink.createLink({
      ...{ name, mtu, master: bridge.index, kind: VETH },
      attributes: { peerName: container, peerMtu: mtu, peerMac: mac },
    });
    const alias = ENDPOINT_ALIAS + formatNetworkAddress(endpoint);
    this.#netlink.setLink(host.index, { up: true, alias });
  }

  /** Returns the address of an endpoint; `undefined` when it has no interface. */
  endpointAddress(endpointId: string): NetworkAddress | undefined {
    const link = this.#netlink.link(endNames(endpointId).host);
    return link && addressOf(link);
  }

  /** Removes the interface of a container, if there is one. */
  removeEndpoint(endpointId: string): void {
    const host = this.#netlink.link(endNames(endpointId).host);
    if (host !== undefined) this.#netlink.deleteLink(host.index);
  }

  /** Returns the addresses of all containers of the plugin's networks. */
  addressesInUse(): Set<IPv4> {
    const addresses = this.#netlink.links().map(addressOf).filter((one) => one !== undefined);
    return new Set(addresses.map(({ address }) => address));
  }

  /**
   * Removes interfaces that no container has: dockerd returns an interface to the host before it deletes the
   * endpoint, and gives up on an agent that is down for longer than half a minute.
   *
   * @returns their number
   */
  removeStaleEndpoints(): number {
    const links = this.#netlink.links();
    const stale = links.filter((link) =>
      addressOf(link) !== undefined &&
      links.some(({ name }) => name === CONTAINER_PREFIX + link.name.slice(HOST_PREFIX.length))
    );
    for (const { index } of stale) this.#netlink.deleteLink(index);
    return stale.length;
  }

  /**
   * Removes gateways that are in no lease once their last container is gone: another host may have such a lease
   * now, and packets to its containers must not end here.
   *
   * @param leases this host's; without any nothing is removed, as there will be one again
   */
  removeFormerGateways(leases: readonly Prefix[]): void {
    if (leases.length === 0) return;
    const links = this.#netlink.links();
    const pools = links.map(addressOf).filter((one) => one !== undefined).map(({ pool }) => pool);
    const bridges = new Set(links.filter(isBridge).map(({ index }) => index));
    const former = this.#netlink.addresses().filter(({ index, address, prefixLength }) =>
      bridges.has(index) && !leases.some((lease) => lease.contains(address)) &&
      !pools.some((pool) => pool.equals(new Prefix(address, prefixLength)))
    );
    this.#netlink.execute(
      former.map((object) => ({ op: "delete", kind: "address", object }) as const),
    );
  }

  /** Returns the bridges of Docker's networks that have addresses in some networks, or none at all. */
  bridgesIn(networks: readonly Prefix[]): DockerBridge[] {
    const links = this.#netlink.links();
    const addresses = this.#netlink.addresses();
    return links.filter(isBridge).filter(({ index }) => {
      const own = addresses.filter((one) => one.index === index);
      return own.every(({ address }) => networks.some((network) => network.contains(address)));
    }).map((link) => ({
      link,
      containers: links.filter(({ master }) => master === link.index).length,
    }));
  }
}

/** A bridge of a Docker network. */
export interface DockerBridge {
  readonly link: Link;
  /** Number of running containers on it. */
  readonly containers: number;
}

function isBridge({ name, kind, alias = "" }: Link): boolean {
  return kind === "bridge" && name.startsWith(BRIDGE_PREFIX) && alias.startsWith(NETWORK_ALIAS);
}

/** Returns the container's address of a pair's end on the host; `undefined` for other links. */
function addressOf({ name, kind, alias = "" }: Link): NetworkAddress | undefined {
  if (kind !== "veth" || !name.startsWith(HOST_PREFIX) || !alias.startsWith(ENDPOINT_ALIAS)) {
    return undefined;
  }
  try {
    return parseNetworkAddress(alias.slice(ENDPOINT_ALIAS.length));
  } catch (error) {
    if (error instanceof DockerPluginError) return undefined;
    throw error;
  }
}
