import type { IPv4 } from "../../ip/mod.ts";
import { Errno, SysError } from "../errno.ts";
import { acknowledgedErrno, acknowledgedReason } from "./acknowledgement.ts";
import { readAddress, RTM_NEWADDR, writeAddressQuery } from "./address.ts";
import { Batch, type BatchResult, Sequence } from "./batch.ts";
import {
  type LinkChange,
  readLink,
  RTM_NEWLINK,
  writeLinkChange,
  writeLinkDeletion,
  writeLinkQuery,
  writeVxlanLink,
} from "./link.ts";
import {
  MessageCursor,
  MessageWriter,
  NLM_F_ACK,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_DUMP_INTR,
  NLM_F_EXCL,
  NLM_F_REQUEST,
  NLMSG_DONE,
  NLMSG_ERROR,
} from "./message.ts";
import {
  readFdbEntry,
  readNeighbour,
  RTM_NEWNEIGH,
  writeFdbQuery,
  writeNeighbourQuery,
} from "./neighbour.ts";
import {
  readRoute,
  readRouteLookup,
  type RouteFilter,
  type RouteLookup,
  RTM_NEWROUTE,
  writeRouteLookup,
  writeRouteQuery,
} from "./route.ts";
import { NetlinkSocket, type NetlinkSocketOptions } from "./socket.ts";
import type { Transport } from "./transport.ts";
import type {
  FdbEntry,
  InterfaceAddress,
  Link,
  Neighbour,
  Operation,
  Route,
  VxlanLink,
} from "./types.ts";

/** Which interface a dump is about. */
export interface InterfaceFilter {
  /**
   * Index of the interface.
   *
   * @default all
   */
  readonly index?: number | undefined;
}

/** How often a dump is begun anew when its table changed meanwhile. */
const DUMP_ATTEMPTS = 10;

/** Reads a message; `undefined` leaves it out. */
type Read<T> = (message: MessageCursor) => T | undefined;
type Write = (writer: MessageWriter, flags: number, sequence: number) => void;

/**
 * The kernel's tables of links, IPv4 addresses, routes, neighbours and FDB entries.
 *
 * All calls are synchronous, see {@linkcode NetlinkSocket}. Errors of the kernel are
 * {@linkcode SysError}s that carry its own words where it has any.
 *
 * @example
 * ```ts no-run
 * import { Netlink } from "./connection.ts";
 * using netlink = Netlink.open();
 * for (const link of netlink.links()) console.log(link.index, link.name, link.mtu);
 * ```
 */
export class Netlink implements Disposable {
  readonly #transport: Transport;
  readonly #sequence = new Sequence();
  readonly #writer = new MessageWriter();
  readonly #cursor = new MessageCursor();

  /** Over a transport that this instance owns from now on: a socket, or a recorder in tests. */
  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /**
   * Opens a socket to the kernel.
   *
   * @throws {SysError} when the namespace or the socket cannot be opened
   */
  static open(options: NetlinkSocketOptions = {}): Netlink {
    return new Netlink(NetlinkSocket.open(options));
  }

  /** All links. */
  links(): Link[] {
    return this.#dump("RTM_GETLINK", writeLinkQuery, RTM_NEWLINK, readLink);
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

  #findLink(which: number | string): Link | undefined {
    try {
      return this.#get(
        "RTM_GETLINK",
        String(which),
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
    return this.#dump(
      "RTM_GETADDR",
      (writer, flags, sequence) => writeAddressQuery(writer, flags, sequence, index),
      RTM_NEWADDR,
      (message) => readAddress(message, index),
    );
  }

  /**
   * IPv4 unicast routes of all tables, or those that pass the filter. A route over several next
   * hops is told with its first.
   */
  routes(filter: RouteFilter = {}): Route[] {
    return this.#dump(
      "RTM_GETROUTE",
      (writer, flags, sequence) => writeRouteQuery(writer, flags, sequence, filter),
      RTM_NEWROUTE,
      (message) => readRoute(message, filter),
    );
  }

  /** IPv4 neighbours that have a MAC. Those still being resolved, or failed, are left out. */
  neighbours(filter: InterfaceFilter = {}): Neighbour[] {
    const index = filter.index ?? 0;
    return this.#dump(
      "RTM_GETNEIGH",
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
    return this.#dump(
      "RTM_GETNEIGH",
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
    return this.#get(
      "RTM_GETROUTE",
      undefined,
      (writer, flags, sequence) => writeRouteLookup(writer, flags, sequence, address),
      RTM_NEWROUTE,
      readRouteLookup,
    );
  }

  /**
   * Makes a vxlan device, down.
   *
   * @throws {SysError} EEXIST when the name, or the pair of VNI and port, is taken; EOPNOTSUPP without the
   *   kernel's vxlan module
   */
  createVxlan(link: VxlanLink): Link {
    this.#request(
      "RTM_NEWLINK",
      link.name,
      NLM_F_CREATE | NLM_F_EXCL,
      (writer, flags, sequence) => writeVxlanLink(writer, flags, sequence, link),
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
      this.#request(
        "RTM_DELLINK",
        `interface ${index}`,
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
    this.#request(
      "RTM_NEWLINK",
      `interface ${index}`,
      0,
      (writer, flags, sequence) => writeLinkChange(writer, flags, sequence, index, change),
    );
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

  #get<T>(
    name: string,
    subject: string | undefined,
    write: Write,
    type: number,
    read: (message: MessageCursor) => T,
  ): T {
    let answer: { value: T } | undefined;
    this.#request(name, subject, 0, write, (message) => {
      if (message.type === type) answer = { value: read(message) };
    });
    if (answer === undefined) {
      throw new SysError(name, Errno.ENOENT, { subject, detail: "answered without an object" });
    }
    return answer.value;
  }

  /** Sends one message and reads up to its acknowledgement. */
  #request(
    name: string,
    subject: string | undefined,
    flags: number,
    write: Write,
    visit: (message: MessageCursor) => void = () => {},
  ): void {
    const sequence = this.#send(NLM_F_REQUEST | NLM_F_ACK | flags, write);
    this.#receiveUntilDone(sequence, name, subject, visit);
  }

  #dump<T>(name: string, write: Write, type: number, read: Read<T>): T[] {
    for (let attempt = 0; attempt < DUMP_ATTEMPTS; attempt++) {
      const objects: T[] = [];
      let interrupted = false;
      const sequence = this.#send(NLM_F_REQUEST | NLM_F_DUMP, write);
      try {
        this.#receiveUntilDone(sequence, name, undefined, (message) => {
          if ((message.flags & NLM_F_DUMP_INTR) !== 0) interrupted = true;
          if (message.type !== type) return;
          const object = read(message);
          if (object !== undefined) objects.push(object);
        });
      } catch (error) {
        // A filter that names an interface or a table that is not there: nothing is in it.
        const absent: number[] = [Errno.ENODEV, Errno.ENOENT];
        if (error instanceof SysError && absent.includes(error.errno)) return [];
        throw error;
      }
      if (!interrupted) return objects;
    }
    throw new SysError(name, Errno.EINTR, {
      detail: `the table changed during each of ${DUMP_ATTEMPTS} dumps`,
    });
  }

  #send(flags: number, write: Write): number {
    const sequence = this.#sequence.take();
    this.#writer.reset();
    write(this.#writer, flags, sequence);
    this.#transport.send(this.#writer.bytes);
    return sequence;
  }

  /** Reads the answers to a request up to its acknowledgement or the end of its dump. */
  #receiveUntilDone(
    sequence: number,
    name: string,
    subject: string | undefined,
    visit: (message: MessageCursor) => void,
  ): void {
    const cursor = this.#cursor;
    let finished = false;
    let failure: SysError | undefined;
    const visitDatagram = (view: DataView, start: number, end: number) => {
      cursor.enter(view, start, end);
      while (cursor.next()) {
        if (cursor.sequence !== sequence) continue;
        if (cursor.type === NLMSG_ERROR || cursor.type === NLMSG_DONE) {
          finished = true;
          const number = acknowledgedErrno(cursor);
          if (number !== 0) {
            failure = new SysError(name, number, { subject, detail: acknowledgedReason(cursor) });
          }
        }
        visit(cursor);
      }
    };
    try {
      for (let waited = false; !finished;) {
        if (this.#transport.receive("dump", visitDatagram) > 0) continue;
        if (waited) throw new SysError(name, Errno.ETIMEDOUT, { detail: "netlink did not answer" });
        this.#transport.wait();
        waited = true;
      }
    } catch (error) {
      // An unread dump would make the socket refuse the next one (EBUSY).
      while (this.#transport.receive("dump", () => {}) > 0);
      throw error;
    }
    if (failure !== undefined) throw failure;
  }
}
