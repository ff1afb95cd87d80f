import type { BatchResult } from "./batch.ts";
import { type InterfaceFilter, Netlink } from "./connection.ts";
import type { LinkChange } from "./objects/link.ts";
import type { NewLink } from "./objects/link_kind.ts";
import { MessageCursor } from "./wire/message.ts";
import type { RouteFilter } from "./objects/route.ts";
import { NetlinkSocket, type NetlinkSocketOptions } from "./wire/socket.ts";
import type { Transport } from "./wire/transport.ts";
import type {
  FdbEntry,
  InterfaceAddress,
  Link,
  Neighbour,
  Operation,
  Route,
} from "./wire/types.ts";
import { IFF_UP } from "../linux_constants.ts";

/** An object as it is and as it would be; one of the two is absent where it comes or goes. */
export type PlannedChange =
  | Change<"link", Link>
  | Change<"address", InterfaceAddress>
  | Change<"neighbour", Neighbour>
  | Change<"fdb", FdbEntry>
  | Change<"route", Route>
  | Change<"tx-checksum", TransmitChecksum>;

/** Whether a device leaves checksums of what it sends to be computed later. */
export interface TransmitChecksum {
  /** Of the device. */
  readonly name: string;
  readonly on: boolean;
}

interface Change<Kind, T> {
  readonly kind: Kind;
  readonly before?: T;
  readonly after?: T;
}

/** Where the indexes of links that are only planned begin: above any that the kernel gives. */
const FIRST_INDEX = 0x7f00_0000;

/**
 * A connection that changes nothing: it answers queries from the kernel and records changes. Running code on
 * it shows what the code would change through a `Netlink`.
 *
 * Links that were created, changed or deleted show in later queries, since later steps depend on them. Other
 * recorded objects do not show.
 *
 * The transport below passes queries and nothing else, so that a change which this class does not record is
 * an error, and never made.
 */
export class DryRunNetlink extends Netlink {
  /** By index, what became of a link; in the order in which they were touched. */
  readonly #links = new Map<number, { readonly before?: Link; after?: Link }>();
  readonly #changes: PlannedChange[] = [];
  /** Requested transmit checksum offload, by index. */
  readonly #checksums = new Map<number | undefined, boolean>();
  #nextIndex = FIRST_INDEX;

  /** @param netns where the transport leads to */
  constructor(transport: Transport, netns?: string) {
    super(new QueriesOnly(transport), netns);
  }

  static override open(options: NetlinkSocketOptions = {}): DryRunNetlink {
    return new DryRunNetlink(NetlinkSocket.open(options), options.netns);
  }

  /** All recorded changes, links first. */
  get changes(): readonly PlannedChange[] {
    const links = [...this.#links.values()]
      .filter(({ before, after }) => before !== undefined || after !== undefined)
      .filter(({ before, after }) => !isSameLink(before, after))
      .map((change): PlannedChange => ({ kind: "link", ...change }));
    return [...links, ...this.#changes];
  }

  /**
   * The link, planned or there, of this index; for naming what the changes are about.
   *
   * @returns one that would be deleted, too
   */
  nameOf(index: number): string {
    const planned = this.#links.get(index);
    return (planned?.after ?? planned?.before ?? super.linkByIndex(index))?.name ??
      `interface ${index}`;
  }

  /** Records a link that would be made by other means than netlink's: a TUN device. */
  makeLink(link: Omit<Link, "index">): Link {
    const made = { ...link, index: this.#nextIndex++ };
    this.#links.set(made.index, { after: made });
    return made;
  }

  override createLink<T extends object>({ name, mtu, mac, kind, attributes }: NewLink<T>): Link {
    return this.makeLink({
      ...{ name, mtu, flags: 0, kind: kind.name, data: kind.encode(attributes) },
      ...(mac === undefined ? {} : { mac }),
    });
  }

  override deleteLink(index: number): boolean {
    const before = this.linkByIndex(index);
    if (before === undefined) return false;
    if (this.#links.get(index)?.before === undefined && this.#isPlanned(index)) {
      this.#links.delete(index);
    } else this.#links.set(index, { before: this.#links.get(index)?.before ?? before });
    return true;
  }

  override setLink(index: number, { up, mtu, mac }: LinkChange): void {
    const is = this.linkByIndex(index);
    if (is === undefined) return;
    const flags = up === undefined ? is.flags : up ? is.flags | IFF_UP : is.flags & ~IFF_UP;
    const after: Link = {
      ...is,
      flags,
      ...(mtu === undefined ? {} : { mtu }),
      ...(mac === undefined ? {} : { mac }),
    };
    const planned = this.#links.get(index);
    if (planned !== undefined) planned.after = after;
    else this.#links.set(index, { before: is, after });
  }

  /** Not recorded: a part of making the link. */
  override disableIPv6(): void {}

  override transmitChecksumOffload(name: string): boolean {
    const planned = this.#checksums.get(this.link(name)?.index);
    // The kernel makes devices with it.
    return planned ?? (this.#isMade(name) || super.transmitChecksumOffload(name));
  }

  override setTransmitChecksumOffload(name: string, on: boolean): void {
    if (this.transmitChecksumOffload(name) === on) return;
    const after: TransmitChecksum = { name, on };
    this.#changes.push({
      kind: "tx-checksum",
      ...(this.#isMade(name) ? {} : { before: { name, on: !on } }),
      after,
    });
    this.#checksums.set(this.link(name)?.index, on);
  }

  override execute(operations: Iterable<Operation>): BatchResult {
    const known = new Tables(this);
    let applied = 0;
    for (const { op, kind, object } of operations) {
      const before = known.find(kind, object);
      // The kinds belong together, which the compiler cannot see.
      const change = { kind, before, after: op === "delete" ? undefined : object };
      if (before !== undefined || change.after !== undefined) {
        this.#changes.push(withoutUndefined(change) as PlannedChange);
      }
      applied++;
    }
    return { applied, failures: [], systemCalls: 0 };
  }

  override links(): Link[] {
    const there = super.links().flatMap((link) => {
      const planned = this.#links.get(link.index);
      return planned === undefined ? [link] : planned.after === undefined ? [] : [planned.after];
    });
    return [...there, ...this.#madeLinks()];
  }

  override link(name: string): Link | undefined {
    const made = this.#madeLinks().find((link) => link.name === name);
    if (made !== undefined) return made;
    const there = super.link(name);
    return there === undefined ? undefined : this.linkByIndex(there.index);
  }

  override linkByIndex(index: number): Link | undefined {
    const planned = this.#links.get(index);
    if (planned !== undefined) return planned.after;
    return this.#isPlanned(index) ? undefined : super.linkByIndex(index);
  }

  override addresses(filter: InterfaceFilter = {}): InterfaceAddress[] {
    return this.#isPlanned(filter.index) ? [] : super.addresses(filter);
  }

  override neighbours(filter: InterfaceFilter = {}): Neighbour[] {
    return this.#isPlanned(filter.index) ? [] : super.neighbours(filter);
  }

  override fdb(filter: { readonly index: number }): FdbEntry[] {
    return this.#isPlanned(filter.index) ? [] : super.fdb(filter);
  }

  /** Those by a link that would be deleted would go with it. */
  override routes(filter: RouteFilter = {}): Route[] {
    if (this.#isPlanned(filter.oif)) return [];
    return super.routes(filter).filter(({ oif }) => {
      const planned = this.#links.get(oif);
      return planned === undefined || planned.after !== undefined;
    });
  }

  #isPlanned(index: number | undefined): boolean {
    return index !== undefined && index >= FIRST_INDEX;
  }

  #isMade(name: string): boolean {
    return this.#madeLinks().some((link) => link.name === name);
  }

  #madeLinks(): Link[] {
    return [...this.#links.values()].flatMap(({ before, after }) =>
      before === undefined && after !== undefined ? [after] : []
    );
  }
}

/** The kernel's objects by their keys, each table read at its first use. */
class Tables {
  readonly #netlink: Netlink;
  readonly #tables = new Map<string, ReadonlyMap<string, unknown>>();

  constructor(netlink: Netlink) {
    this.#netlink = netlink;
  }

  find(kind: Operation["kind"], object: Operation["object"]): unknown {
    const { oif, index } = object as { oif?: number; index?: number };
    const name = `${kind} ${kind === "route" ? (object as Route).table : index ?? oif}`;
    let table = this.#tables.get(name);
    if (table === undefined) {
      table = new Map(this.#read(kind, object).map((one) => [keyOf(kind, one), one]));
      this.#tables.set(name, table);
    }
    return table.get(keyOf(kind, object));
  }

  #read(kind: Operation["kind"], object: Operation["object"]): readonly Operation["object"][] {
    const { index } = object as { index: number };
    switch (kind) {
      case "address":
        return this.#netlink.addresses({ index });
      case "neighbour":
        return this.#netlink.neighbours({ index });
      case "fdb":
        return this.#netlink.fdb({ index });
      case "route":
        return this.#netlink.routes({ table: (object as Route).table });
    }
  }
}

/** The kernel's own keys, see {@linkcode Netlink.execute}. */
function keyOf(kind: Operation["kind"], object: Operation["object"]): string {
  switch (kind) {
    case "address": {
      const { address, prefixLength } = object as InterfaceAddress;
      return `${address}/${prefixLength}`;
    }
    case "neighbour":
      return String((object as Neighbour).address);
    case "fdb":
      return (object as FdbEntry).mac;
    case "route": {
      const { destination, metric } = object as Route;
      return `${destination} ${metric}`;
    }
  }
}

function withoutUndefined(object: object): object {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined));
}

function isSameLink(a: Link | undefined, b: Link | undefined): boolean {
  return a !== undefined && b !== undefined && a.mtu === b.mtu && a.mac === b.mac &&
    (a.flags & IFF_UP) === (b.flags & IFF_UP);
}

/** Refuses whatever is not a query; linux/rtnetlink.h: types come in fours, NEW, DEL, GET, SET. */
class QueriesOnly implements Transport {
  readonly #transport: Transport;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  get port(): number {
    return this.#transport.port;
  }

  get sendLimit(): number {
    return this.#transport.sendLimit;
  }

  get messageLimit(): number {
    return this.#transport.messageLimit;
  }

  get systemCalls(): number {
    return this.#transport.systemCalls;
  }

  send(bytes: Uint8Array<ArrayBuffer>): void {
    const cursor = new MessageCursor();
    cursor.enter(new DataView(bytes.buffer, bytes.byteOffset, bytes.length), 0, bytes.length);
    while (cursor.next()) {
      if ((cursor.type & 3) !== 2) {
        throw new TypeError(`a dry run was to send netlink message ${cursor.type}, a change`);
      }
    }
    this.#transport.send(bytes);
  }

  receive(...args: Parameters<Transport["receive"]>): number {
    return this.#transport.receive(...args);
  }

  wait(): void {
    this.#transport.wait();
  }

  [Symbol.dispose](): void {
    this.#transport[Symbol.dispose]();
  }
}
