import { formatIPv4, type IPv4, Prefix } from "../mod/ip/mod.ts";
import type { UnusableRange } from "../mod/subnet/mod.ts";
import type {
  InterfaceAddress,
  KernelEvent,
  Link,
  Netlink,
  Operation,
  Route,
} from "../mod/sys/mod.ts";
import { PrefixIndex } from "./prefix_index.ts";
import { RTPROT_FLANNEL } from "./reconcile.ts";
import { IFF_UP, RT_TABLE_MAIN } from "../mod/sys/linux_constants.ts";

/** Devices that join containers or virtual machines, by IFLA_INFO_KIND. */
const BRIDGES: ReadonlySet<string | undefined> = new Set(["bridge", "openvswitch"]);

/** flannel's device names: `flannel.1`, `flannel0`, `flannel0-gro`. */
const FLANNEL_DEVICE = /^flannel(\.|\d)/;

/** A route of this host, or a network that it is on, which a peer's route must not replace. */
export interface HostObstacle {
  readonly prefix: Prefix;
  /** Index of the interface; 0 for a blackhole, unreachable or prohibit route. */
  readonly oif: number;
  /** Absent for a network that the host is on, and for a route without a gateway. */
  readonly gateway?: IPv4;
  /** True for a network that the host has an address in. */
  readonly isConnected: boolean;
}

/** The kernel's tables, as {@linkcode HostRoutes.load} takes them. */
export interface HostTables {
  readonly links: readonly Link[];
  readonly addresses: readonly InterfaceAddress[];
  /** Routes of the main table, with those of interface 0. */
  readonly routes: readonly Route[];
}

/** The programmed peers, for {@linkcode HostRoutes.observe}. */
export interface ProgrammedPeers {
  /** True when a peer with exactly this subnet is programmed. */
  has(subnet: Prefix): boolean;
  /** How many leases are refused. */
  readonly refused: number;
}

/**
 * Routes and networks of this host that flanneld did not make: those inside one container network, and networks
 * of an interface that contain it.
 *
 * A dump fills it and the kernel's events update it, so that a check of a lease needs no system call. A check
 * costs O(log n). It holds no routes of flanneld and no routes of flannel's devices.
 */
export class HostRoutes {
  readonly #network: Prefix;
  /** By metric, which with the destination is the kernel's key. */
  readonly #routes = new PrefixIndex<HostObstacle>();
  /** By interface and address. */
  readonly #connected = new PrefixIndex<HostObstacle>();
  /** How many interfaces have an address. */
  readonly #addresses = new Map<IPv4, number>();
  /** First and last addresses of the networks that the host is on. */
  readonly #edges = new Map<IPv4, Prefix>();
  readonly #flannel = new Set<number>();
  readonly #bridges = new Set<number>();

  /** @param network routes that neither lie in it nor contain it are ignored */
  constructor(network: Prefix) {
    this.#network = network;
  }

  /** Dumps the kernel's tables and {@linkcode HostRoutes.load loads} them. */
  static read(network: Prefix, netlink: Netlink): HostRoutes {
    const host = new HostRoutes(network);
    host.load(readHostTables(netlink));
    return host;
  }

  /** Replaces all contents with these tables. */
  load({ links, addresses, routes }: HostTables): void {
    const all = [this.#routes, this.#connected, this.#addresses, this.#edges];
    for (const one of [...all, this.#flannel, this.#bridges]) one.clear();
    for (const link of links) this.#takeLink(link);
    for (const address of addresses) this.#addAddress(address);
    for (const route of routes) this.#addRoute(route);
  }

  /**
   * Applies an event.
   *
   * @param subnetLen prefix length of most leases
   * @param own this host's subnet; routes inside belong to its containers
   * @returns the change, when a lease may have to be checked again; `undefined` otherwise
   */
  observe(
    event: KernelEvent,
    peers: ProgrammedPeers,
    subnetLen: number,
    own: Prefix,
  ): string | undefined {
    switch (event.type) {
      case "link":
      case "link-removed":
        return this.#observeLink(event.link, event.type === "link-removed", peers);
      case "address": {
        const connected = this.#addAddress(event.address);
        return this.#matters(connected, true, peers, subnetLen, own)
          ? `this host is now on ${connected!.prefix}`
          : undefined;
      }
      case "address-removed": {
        const connected = this.#removeAddress(event.address);
        return this.#matters(connected, false, peers, subnetLen, own)
          ? `this host is no longer on ${connected!.prefix}`
          : undefined;
      }
      case "route":
      case "route-removed": {
        const { route } = event;
        if (route.table !== RT_TABLE_MAIN) return undefined;
        const isGone = event.type === "route-removed";
        // The kernel reports a replaced route by the new one alone; flanneld's own may go beside another.
        if (isGone && !this.#isUnmanaged(route)) return undefined;
        const was = this.#routes.remove(route.destination.key, String(route.metric));
        const is = isGone ? undefined : this.#addRoute(route);
        const changed = is ?? was;
        return this.#matters(changed, is !== undefined, peers, subnetLen, own)
          ? `route of this host to ${changed!.prefix} ${is === undefined ? "removed" : "added"}`
          : undefined;
      }
      default:
        return undefined;
    }
  }

  /**
   * Returns the route or network of this host that a route to a peer's subnet would replace: a route to the
   * subnet or to a part of it, or a network of an interface that overlaps it. A route to a larger range is no
   * obstacle: the subnet's own route is more specific and leaves the rest of the range alone.
   *
   * @param isFine returns true for a route that may stay, such as one with the same next hop
   */
  obstacle(
    subnet: Prefix,
    isFine: (route: HostObstacle) => boolean = () => false,
  ): HostObstacle | undefined {
    return this.#connected.findInside(subnet) ?? this.#connected.findAround(subnet) ??
      this.#routes.findInside(subnet, (route) => !isFine(route));
  }

  /**
   * Leaves out routes that the kernel would refuse to add, because a route with the same destination and
   * metric exists. For a lease that was not refused, the existing route has the same next hop.
   */
  addable(operations: readonly Operation[]): readonly Operation[] {
    const isTaken = ({ op, kind, object }: Operation) =>
      op === "add" && kind === "route" &&
      this.#routes.has(object.destination.key, String(object.metric));
    return operations.some(isTaken)
      ? operations.filter((operation) => !isTaken(operation))
      : operations;
  }

  /** True for an address of this host. */
  hasAddress(address: IPv4): boolean {
    return this.#addresses.has(address);
  }

  /** Returns the network whose network or broadcast address this is; no host can have such an address. */
  edgeOf(address: IPv4): Prefix | undefined {
    return this.#edges.get(address);
  }

  /**
   * Returns the ranges that must not overlap this host's own subnet. The networks and routes of bridges may:
   * containers use them, in this subnet or in a former one. So may routes to single containers.
   *
   * @param subnetLen prefix length of a subnet
   * @param former subnets that this host has had
   * @param external index of the external interface, whatever it is
   */
  unusable(
    { subnetLen, former, external }: {
      readonly subnetLen: number;
      readonly former: readonly Prefix[];
      readonly external: number;
    },
  ): UnusableRange[] {
    const isContainers = ({ oif, prefix, isConnected }: HostObstacle) =>
      oif !== external && this.#bridges.has(oif) &&
      (!isConnected || prefix.length >= subnetLen ||
        former.some((subnet) => subnet.containsPrefix(prefix)));
    const isToContainer = ({ oif, prefix, gateway }: HostObstacle) =>
      oif === 0 || (prefix.length === 32 && gateway === undefined && oif !== external);
    return [
      ...this.#connected.values().filter((one) => !isContainers(one)),
      ...this.#routes.values().filter((one) =>
        one.prefix.length >= subnetLen && !isContainers(one) && !isToContainer(one)
      ),
    ].map((one) => ({ prefix: one.prefix, reason: describeObstacle(one) }));
  }

  #takeLink({ index, name, kind }: Link): void {
    mark(this.#flannel, index, FLANNEL_DEVICE.test(name));
    mark(this.#bridges, index, BRIDGES.has(kind));
  }

  /** The kernel removes the routes of an interface that goes down or away without an event each. */
  #observeLink(link: Link, isGone: boolean, peers: ProgrammedPeers): string | undefined {
    this.#takeLink(link);
    if (!isGone && (link.flags & IFF_UP) !== 0) return undefined;
    const removed = this.#routes.removeAll(({ oif }) => oif === link.index);
    if (isGone) mark(this.#flannel, link.index, false);
    return removed > 0 && peers.refused > 0
      ? `routes of this host by ${link.name} removed`
      : undefined;
  }

  #addAddress(one: InterfaceAddress): HostObstacle | undefined {
    const { address, index, prefixLength } = one;
    this.#addresses.set(address, (this.#addresses.get(address) ?? 0) + 1);
    if (prefixLength === 32 || this.#flannel.has(index)) return undefined;
    const prefix = new Prefix(address, prefixLength);
    if (prefixLength <= 30) {
      for (const edge of [prefix.address, prefix.last]) this.#edges.set(edge, prefix);
    }
    if (!prefix.overlaps(this.#network)) return undefined;
    const connected = { prefix, oif: index, isConnected: true };
    this.#connected.put(prefix.key, `${index} ${address}`, connected);
    return connected;
  }

  #removeAddress({ address, index, prefixLength }: InterfaceAddress): HostObstacle | undefined {
    const left = (this.#addresses.get(address) ?? 1) - 1;
    if (left > 0) this.#addresses.set(address, left);
    else this.#addresses.delete(address);
    return this.#connected.remove(new Prefix(address, prefixLength).key, `${index} ${address}`);
  }

  #addRoute(route: Route): HostObstacle | undefined {
    const { destination, oif, gateway, metric } = route;
    if (!this.#isUnmanaged(route) || !this.#network.containsPrefix(destination)) return undefined;
    const obstacle = {
      ...{ prefix: destination, oif, isConnected: false },
      ...(gateway === undefined ? {} : { gateway }),
    };
    this.#routes.put(destination.key, String(metric), obstacle);
    return obstacle;
  }

  #isUnmanaged({ protocol, oif }: Route): boolean {
    return protocol !== RTPROT_FLANNEL && !this.#flannel.has(oif);
  }

  /** Returns whether the check of a programmed or refused lease may have another result now. */
  #matters(
    changed: HostObstacle | undefined,
    isThere: boolean,
    peers: ProgrammedPeers,
    subnetLen: number,
    own: Prefix,
  ): boolean {
    if (changed === undefined || own.containsPrefix(changed.prefix)) return false;
    if (!isThere) return peers.refused > 0 || peers.has(changed.prefix);
    if (changed.prefix.length < subnetLen) return true;
    const { address, length } = changed.prefix;
    for (let longer = subnetLen; longer <= length; longer++) {
      if (peers.has(new Prefix(address, longer))) return true;
    }
    return false;
  }
}

/** Dumps links, addresses and the main table's routes. */
export function readHostTables(netlink: Netlink): HostTables {
  return {
    links: netlink.links(),
    addresses: netlink.addresses(),
    routes: netlink.routes({ table: RT_TABLE_MAIN, withRefusing: true }),
  };
}

/** `meets the route to 10.20.64.0/24 via 192.168.1.254, which flanneld did not make` */
export function describeObstacle({ prefix, gateway, isConnected }: HostObstacle): string {
  if (isConnected) return `meets ${prefix}, which an interface of this host is on`;
  const via = gateway === undefined ? "" : ` via ${formatIPv4(gateway)}`;
  return `meets the route to ${prefix}${via}, which flanneld did not make`;
}

function mark(set: Set<number>, index: number, isIn: boolean): void {
  if (isIn) set.add(index);
  else set.delete(index);
}
