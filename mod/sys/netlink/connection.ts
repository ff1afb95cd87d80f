import type { IPv4 } from "../../ip/mod.ts";
import { Errno, SysError } from "../ffi/errno.ts";
import { setTransmitChecksumOffload, transmitChecksumOffload } from "../ethtool.ts";
import { isIPv6Off, turnIPv6Off } from "../ipv6.ts";
import { readAddress, RTM_NEWADDR, writeAddressQuery } from "./objects/address.ts";
import { Batch, type BatchResult, Sequence } from "./batch.ts";
import {
  type Destination,
  readDestination,
  readRule,
  RTM_NEWRULE,
  writeDestinationQuery,
  writeRuleQuery,
} from "./objects/destination.ts";
import { Exchange } from "./wire/exchange.ts";
import {
  type LinkChange,
  readLink,
  RTM_NEWLINK,
  writeLinkChange,
  writeLinkDeletion,
  writeLinkQuery,
  writeNewLink,
} from "./objects/link.ts";
import type { NewLink } from "./objects/link_kind.ts";
import { readStatistics, writeStatisticsQuery } from "./objects/link_statistics.ts";
import { NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE } from "./wire/message.ts";
import { MessageWriter } from "./wire/message_writer.ts";
import {
  readFdbEntry,
  readNeighbour,
  RTM_NEWNEIGH,
  writeFdbQuery,
  writeNeighbourQuery,
} from "./objects/neighbour.ts";
import {
  readRoute,
  readRouteLookup,
  type RouteFilter,
  type RouteLookup,
  RTM_NEWROUTE,
  writeRouteLookup,
  writeRouteQuery,
} from "./objects/route.ts";
import { NetlinkSocket, type NetlinkSocketOptions } from "./wire/socket.ts";
import {
  type AttachedFilter,
  type BpfFilter,
  type FilterPlace,
  IPV6_DROP,
  readFilter,
  RTM_DELQDISC,
  RTM_NEWQDISC,
  RTM_NEWTFILTER,
  writeClsact,
  writeFilter,
  writeFilterDeletion,
  writeFilterQuery,
  writeIPv6Drop,
} from "./objects/traffic_control.ts";
import type { Transport } from "./wire/transport.ts";
import type {
  FdbEntry,
  InterfaceAddress,
  KernelEvent,
  Link,
  LinkStatistics,
  Neighbour,
  Operation,
  Route,
} from "./wire/types.ts";

/** Which interface a dump is about. */
export interface InterfaceFilter {
  /**
   * Index of the interface.
   *
   * @default all
   */
  readonly index?: number | undefined;
}

/**
 * The kernel's tables of links, IPv4 addresses, routes, neighbours and FDB entries.
 *
 * All calls are synchronous, see {@linkcode NetlinkSocket}. Errors of the kernel are
 * {@linkcode SysError}s that carry its own words where it has any.
 *
 * @example
 * ```ts ignore
 * import { Netlink } from "./connection.ts";
 * using netlink = Netlink.open();
 * for (const link of netlink.links()) console.log(link.index, link.name, link.mtu);
 * ```
 */
export class Netlink implements Disposable {
  readonly #transport: Transport;
  readonly #sequence = new Sequence();
  readonly #writer = new MessageWriter();
  readonly #exchange: Exchange;

  readonly #netns: string | undefined;

  /**
   * Over a transport that this instance owns from now on: a socket, or a recorder in tests.
   *
   * @param netns where the transport leads to
   */
  constructor(transport: Transport, netns?: string) {
    this.#netns = netns;
    this.#transport = transport;
    this.#exchange = new Exchange(transport, this.#sequence, this.#writer);
  }

  /**
   * Opens a socket to the kernel.
   *
   * @throws {SysError} when the namespace or the socket cannot be opened
   */
  static open(options: NetlinkSocketOptions = {}): Netlink {
    return new Netlink(NetlinkSocket.open(options), options.netns);
  }

  /**
   * Returns whether this connection asked for the change that an event reports. Events of FDB entries do not
   * name the sender.
   */
  isOwn({ sender }: KernelEvent): boolean {
    return sender !== undefined && sender === this.#transport.port;
  }

  /** All links. */
  links(): Link[] {
    return this.#exchange.dump({ name: "RTM_GETLINK" }, writeLinkQuery, RTM_NEWLINK, readLink);
  }

  /** The link of this name, or of this alternative name (Linux 5.5). */
  link(name: string): Link | undefined {
    if (name === "") return undefined;
    return this.#findLink(name);
  }

  /** The link of this index. */
  linkByIndex(index: number): Link | undefined {
    if (index <= 0) return undefined;
    return this.#findLink(index);
  }

  /**
   * Returns the traffic of a link.
   *
   * @throws {SysError} ENODEV when there is none of this index
   */
  linkStatistics(index: number): LinkStatistics {
    return this.#exchange.get(
      { name: "RTM_GETLINK", subject: String(index) },
      (writer, flags, sequence) => writeStatisticsQuery(writer, flags, sequence, index),
      RTM_NEWLINK,
      readStatistics,
    );
  }

  #findLink(which: number | string): Link | undefined {
    try {
      return this.#exchange.get(
        { name: "RTM_GETLINK", subject: String(which) },
        (writer, flags, sequence) => writeLinkQuery(writer, flags, sequence, which),
        RTM_NEWLINK,
        readLink,
      );
    } catch (error) {
      if (error instanceof SysError && error.errno === Errno.ENODEV) return undefined;
      throw error;
    }
  }

  /** IPv4 addresses; none for an interface that does not exist. */
  addresses(filter: InterfaceFilter = {}): InterfaceAddress[] {
    const index = filter.index ?? 0;
    return this.#exchange.dump(
      { name: "RTM_GETADDR" },
      (writer, flags, sequence) => writeAddressQuery(writer, flags, sequence, index),
      RTM_NEWADDR,
      (message) => readAddress(message, index),
    );
  }

  /**
   * IPv4 unicast routes of all tables, or those that pass the filter. A multipath route comes with its first
   * next hop.
   */
  routes(filter: RouteFilter = {}): Route[] {
    return this.#exchange.dump(
      { name: "RTM_GETROUTE" },
      (writer, flags, sequence) => writeRouteQuery(writer, flags, sequence, filter),
      RTM_NEWROUTE,
      (message) => readRoute(message, filter),
    );
  }

  /** IPv4 neighbours that have a MAC. Those still being resolved, or failed, are left out. */
  neighbours(filter: InterfaceFilter = {}): Neighbour[] {
    const index = filter.index ?? 0;
    return this.#exchange.dump(
      { name: "RTM_GETNEIGH" },
      (writer, flags, sequence) => writeNeighbourQuery(writer, flags, sequence, index),
      RTM_NEWNEIGH,
      (message) => {
        const neighbour = readNeighbour(message, index);
        return neighbour?.mac === undefined ? undefined : neighbour as Neighbour;
      },
    );
  }

  /** The forwarding database of a device, as far as it keeps one of its own (vxlan does). */
  fdb(filter: { readonly index: number }): FdbEntry[] {
    return this.#exchange.dump(
      { name: "RTM_GETNEIGH" },
      (writer, flags, sequence) => writeFdbQuery(writer, flags, sequence, filter.index),
      RTM_NEWNEIGH,
      (message) => readFdbEntry(message, filter.index),
    );
  }

  /**
   * How the kernel would send to an address.
   *
   * @throws {SysError} ENETUNREACH when no route leads there; EHOSTUNREACH, EINVAL or EACCES when an
   *   unreachable, blackhole or prohibit route does
   */
  routeTo(address: IPv4): RouteLookup {
    return this.#exchange.get(
      { name: "RTM_GETROUTE" },
      (writer, flags, sequence) => writeRouteLookup(writer, flags, sequence, address),
      RTM_NEWROUTE,
      readRouteLookup,
    );
  }

  /**
   * All prefixes of routes and rules: {@linkcode Netlink.routeTo} returns the same interface for two addresses
   * that are in the same of them, unless a route is multipath. Two dumps.
   */
  destinations(): Destination[] {
    const destinations = this.#exchange.dump(
      { name: "RTM_GETROUTE" },
      writeDestinationQuery,
      RTM_NEWROUTE,
      readDestination,
    );
    try {
      destinations.push(
        ...this.#exchange.dump({ name: "RTM_GETRULE" }, writeRuleQuery, RTM_NEWRULE, readRule),
      );
    } catch (error) {
      // A kernel without CONFIG_IP_MULTIPLE_TABLES.
      if (!(error instanceof SysError) || error.errno !== Errno.EOPNOTSUPP) throw error;
    }
    return destinations;
  }

  /**
   * Creates a link of some kind, down.
   *
   * @throws {SysError} EEXIST when the name, or what the kind has once (VNI and port of vxlan), is taken;
   *   EOPNOTSUPP without the kernel's module for the kind
   */
  createLink<T extends object>(link: NewLink<T>): Link {
    this.#exchange.request(
      { name: "RTM_NEWLINK", subject: link.name },
      NLM_F_CREATE | NLM_F_EXCL,
      (writer, flags, sequence) => writeNewLink(writer, flags, sequence, link),
    );
    const created = this.link(link.name);
    if (created === undefined) {
      throw new SysError("RTM_GETLINK", Errno.ENODEV, {
        subject: link.name,
        detail: "deleted as soon as it was made",
      });
    }
    return created;
  }

  /**
   * Deletes a link, and with it its addresses, routes, neighbours and FDB entries.
   *
   * @returns false when there was none
   * @throws {SysError} EOPNOTSUPP for a device that cannot be deleted
   */
  deleteLink(index: number): boolean {
    try {
      this.#exchange.request(
        { name: "RTM_DELLINK", subject: `interface ${index}` },
        0,
        (writer, flags, sequence) => writeLinkDeletion(writer, flags, sequence, index),
      );
      return true;
    } catch (error) {
      if (error instanceof SysError && error.errno === Errno.ENODEV) return false;
      throw error;
    }
  }

  /**
   * Changes a link; what is not given stays.
   *
   * @throws {SysError} ENODEV when there is none; EINVAL for an MTU the device cannot have
   */
  setLink(index: number, change: LinkChange): void {
    this.#exchange.request(
      { name: "RTM_NEWLINK", subject: `interface ${index}` },
      0,
      (writer, flags, sequence) => writeLinkChange(writer, flags, sequence, index, change),
    );
  }

  /**
   * Puts a BPF classifier on an interface, or another program in its place: each packet meets the
   * one or the other. It stays until it is taken off or the interface goes.
   *
   * @throws {SysError} ENODEV when there is no such interface; EINVAL, or EOPNOTSUPP without the kernel's
   *   classifier
   */
  setFilter(filter: BpfFilter): void {
    const subject = `interface ${filter.index}`;
    this.makeClsact(filter.index);
    this.#exchange.request(
      { name: "RTM_NEWTFILTER", subject },
      NLM_F_CREATE | NLM_F_REPLACE,
      (writer, flags, sequence) => writeFilter(writer, flags, sequence, filter),
    );
  }

  /** The BPF classifiers on one side of an interface; none for an interface that does not exist. */
  filters(index: number, direction: FilterPlace["direction"]): AttachedFilter[] {
    return this.#exchange.dump(
      { name: "RTM_GETTFILTER" },
      (writer, flags, sequence) => writeFilterQuery(writer, flags, sequence, index, direction),
      RTM_NEWTFILTER,
      (message) => readFilter(message, direction),
    );
  }

  /**
   * Makes the discipline that filters hang on.
   *
   * @returns false when it was there
   * @throws {SysError} ENODEV when there is no such interface
   */
  makeClsact(index: number): boolean {
    try {
      this.#exchange.request(
        { name: "RTM_NEWQDISC", subject: `interface ${index}` },
        NLM_F_CREATE | NLM_F_EXCL,
        (writer, flags, sequence) => writeClsact(writer, RTM_NEWQDISC, flags, sequence, index),
      );
      return true;
    } catch (error) {
      if (error instanceof SysError && error.errno === Errno.EEXIST) return false;
      throw error;
    }
  }

  /** Takes the discipline away, unless filters of whatever kind hang on it. @returns false when it is left */
  removeClsact(index: number): boolean {
    const isUsed = (["ingress", "egress"] as const).some((direction) =>
      this.#exchange.dump(
        { name: "RTM_GETTFILTER" },
        (writer, flags, sequence) => writeFilterQuery(writer, flags, sequence, index, direction),
        RTM_NEWTFILTER,
        () => true,
      ).length > 0
    );
    if (isUsed) return false;
    const absent: number[] = [Errno.ENOENT, Errno.ENODEV, Errno.EINVAL];
    try {
      this.#exchange.request(
        { name: "RTM_DELQDISC", subject: `interface ${index}` },
        0,
        (writer, flags, sequence) => writeClsact(writer, RTM_DELQDISC, flags, sequence, index),
      );
      return true;
    } catch (error) {
      if (error instanceof SysError && absent.includes(error.errno)) return false;
      throw error;
    }
  }

  /** Takes a BPF classifier off. @returns false when there was none */
  removeFilter(place: FilterPlace): boolean {
    const absent: number[] = [Errno.ENOENT, Errno.ENODEV, Errno.EINVAL];
    try {
      this.#exchange.request(
        { name: "RTM_DELTFILTER", subject: `interface ${place.index}` },
        0,
        (writer, flags, sequence) => writeFilterDeletion(writer, flags, sequence, place),
      );
      return true;
    } catch (error) {
      // EINVAL: without clsact there is no parent to look below.
      if (error instanceof SysError && absent.includes(error.errno)) return false;
      throw error;
    }
  }

  /**
   * Returns whether a device leaves the checksums of packets to be computed later, see
   * {@linkcode transmitChecksumOffload}. Not by netlink, which has features from Linux 5.6 on only.
   *
   * @throws {SysError} as that does
   */
  transmitChecksumOffload(name: string): boolean {
    return transmitChecksumOffload(name, { netns: this.#netns });
  }

  /**
   * Turns that on or off.
   *
   * @throws {SysError} as {@linkcode setTransmitChecksumOffload} does
   */
  setTransmitChecksumOffload(name: string, on: boolean): void {
    setTransmitChecksumOffload(name, on, { netns: this.#netns });
  }

  /**
   * Turns IPv6 off on a link: the kernel drops all IPv6 packets that the link receives, router advertisements
   * among them, and gives it no link-local address. Where `/proc/sys` is read-only, as in a container, a
   * classifier drops the packets.
   *
   * @throws {SysError} when the kernel has IPv6 and refuses both
   */
  disableIPv6({ index, name }: Pick<Link, "index" | "name">): void {
    if (turnIPv6Off(name, this.#netns) || this.#hasIPv6Drop(index)) return;
    const subject = `interface ${index}`;
    this.makeClsact(index);
    this.#exchange.request(
      { name: "RTM_NEWTFILTER", subject },
      NLM_F_CREATE | NLM_F_REPLACE,
      (writer, flags, sequence) => writeIPv6Drop(writer, flags, sequence, index),
    );
  }

  /** Returns whether a link accepts IPv6 packets, see {@linkcode Netlink.disableIPv6}. */
  acceptsIPv6({ index, name }: Pick<Link, "index" | "name">): boolean {
    return !isIPv6Off(name, this.#netns) && !this.#hasIPv6Drop(index);
  }

  #hasIPv6Drop(index: number): boolean {
    return this.filters(index, "ingress").some(({ name }) => name === IPV6_DROP);
  }

  /**
   * Carries many changes out, in order, with as few system calls as there is room for: one send and
   * one receive for some 400 operations that succeed. 15,000 objects (5,000 routes of 20 metrics, as many
   * neighbours and FDB entries) take 24 ms and 74 system calls, and are dumped in 7 ms; see
   * {@linkcode Route.metric} for what one metric would cost.
   *
   * A failure stops nothing: it is reported, and what follows is carried out. `add` fails with EEXIST when
   * an object has the key; `replace` overwrites it. The kernel's keys: a route's destination, metric
   * and table (so `replace` takes over a route that *another program* installed with them); a neighbour's
   * interface and address; an FDB entry's device and MAC; an address' interface, address and prefix length. `delete`
   * wants every given field of a route to match, gateway and protocol too, and counts as applied
   * when there is nothing to delete, the interface included.
   *
   * @throws {SysError} when the socket itself fails; a batch may be applied in part then
   */
  execute(operations: Iterable<Operation>): BatchResult {
    return new Batch(this.#transport, this.#sequence, this.#writer).execute(operations);
  }

  /** Closes the socket. */
  [Symbol.dispose](): void {
    this.#transport[Symbol.dispose]();
  }
}
