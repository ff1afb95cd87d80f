/**
 * The kernel's tables as plain maps, and random objects for them: what the tests of pure functions
 * on kernel objects compare with.
 *
 * @module
 */
import fc from "fast-check";
import { Prefix } from "../../mod/ip/mod.ts";
import type {
  FdbEntry,
  InterfaceAddress,
  Neighbour,
  Operation,
  Route,
} from "../../mod/sys/netlink/wire/types.ts";
import { type KernelObjects, RTPROT_FLANNEL } from "../reconcile.ts";
import { NUD_PERMANENT, RT_SCOPE_UNIVERSE, RT_TABLE_MAIN } from "../../mod/sys/linux_constants.ts";

/** Interfaces of the tests: the device and the external one. */
export const DEVICE = 7;
export const EXTERNAL = 2;

const ZEROS = "00:00:00:00:00:00";

/**
 * Applies operations to tables, as tried with iproute2 on Linux 6.18: a route is identified by
 * destination and metric, a neighbour by its address. A MAC has one remote, which `replace` replaces
 * and which is deleted only by its name; the MAC of zeros, where packets go that have no entry, may
 * have several. Deleting what is not there changes nothing.
 */
export class KernelModel {
  readonly #addresses = new Map<string, InterfaceAddress>();
  readonly #neighbours = new Map<string, Neighbour>();
  readonly #fdb = new Map<string, FdbEntry[]>();
  readonly #routes = new Map<string, Route>();

  constructor({ addresses, neighbours, fdb, routes }: KernelObjects) {
    for (const object of addresses) this.#addresses.set(addressKey(object), object);
    for (const object of neighbours) this.#neighbours.set(neighbourKey(object), object);
    for (const object of routes) this.#routes.set(routeKey(object), object);
    for (const entry of fdb) {
      this.#fdb.set(entry.mac, [...this.#fdb.get(entry.mac) ?? [], entry]);
    }
  }

  apply(operations: Iterable<Operation>): void {
    for (const operation of operations) {
      const { op } = operation;
      switch (operation.kind) {
        case "address":
          change(this.#addresses, addressKey(operation.object), op, operation.object);
          break;
        case "neighbour":
          change(this.#neighbours, neighbourKey(operation.object), op, operation.object);
          break;
        case "route":
          change(this.#routes, routeKey(operation.object), op, operation.object);
          break;
        case "fdb":
          this.#changeFdb(op, operation.object);
          break;
      }
    }
  }

  #changeFdb(op: Operation["op"], entry: FdbEntry): void {
    const others = (this.#fdb.get(entry.mac) ?? [])
      .filter(({ destination }) => destination !== entry.destination);
    const remotes = op === "delete" ? others : entry.mac === ZEROS ? [...others, entry] : [entry];
    if (remotes.length === 0) this.#fdb.delete(entry.mac);
    else this.#fdb.set(entry.mac, remotes);
  }

  /** All objects in a definite order. */
  get objects(): KernelObjects {
    return sorted({
      addresses: this.#addresses.values(),
      neighbours: this.#neighbours.values(),
      fdb: [...this.#fdb.values()].flat(),
      routes: this.#routes.values(),
    });
  }
}

/** The same objects in a definite order. */
export function sorted(objects: KernelObjects): KernelObjects {
  return {
    addresses: sort(objects.addresses),
    neighbours: sort(objects.neighbours),
    fdb: sort(objects.fdb),
    routes: sort(objects.routes),
  };
}

function sort<T>(objects: Iterable<T>): T[] {
  return [...objects].sort((a, b) => JSON.stringify(a) < JSON.stringify(b) ? -1 : 1);
}

function change<T>(table: Map<string, T>, key: string, op: Operation["op"], object: T): void {
  if (op === "delete") table.delete(key);
  else table.set(key, object);
}

function addressKey({ index, address, prefixLength }: InterfaceAddress): string {
  return `${index} ${address}/${prefixLength}`;
}

function neighbourKey({ index, address }: Neighbour): string {
  return `${index} ${address}`;
}

/** Returns the key by which the kernel distinguishes routes of a table. */
export function routeKey({ destination, metric }: Route): string {
  return `${destination} metric ${metric}`;
}

/** Few of each, so that they meet. */
const address = fc.constantFrom(0x0a140100, 0x0a140200, 0x0a140300, 0xffffffff, 0);
const mac = fc.constantFrom("0e:00:00:00:00:01", "0e:00:00:00:00:02", "0e:00:00:00:00:03");
const remote = fc.constantFrom(0xc0000201, 0xc0000202, 0xc0000203);
const state = fc.constantFrom(NUD_PERMANENT, 0x02);

export const anyNeighbour: fc.Arbitrary<Neighbour> = fc.record({
  index: fc.constant(DEVICE),
  address,
  mac,
  state,
});

export const anyRoute: fc.Arbitrary<Route> = fc.record({
  destination: fc.tuple(address, fc.constantFrom(24, 25, 32)).map(([address, length]) =>
    new Prefix(address, length)
  ),
  gateway: fc.constantFrom(0x0a140100, 0xc0000201),
  oif: fc.constantFrom(DEVICE, EXTERNAL),
  onlink: fc.boolean(),
  protocol: fc.constantFrom(RTPROT_FLANNEL, 3),
  scope: fc.constantFrom(RT_SCOPE_UNIVERSE, 253),
  table: fc.constant(RT_TABLE_MAIN),
  source: fc.constant(0x0a140001),
  metric: fc.constantFrom(0, 1, 2 ** 15 - 1, 2 ** 15, 2 ** 32 - 1),
}, {
  requiredKeys: ["destination", "oif", "onlink", "protocol", "scope", "table", "metric"],
}).map((route) => ({ ...route }));

const anyAddress: fc.Arbitrary<InterfaceAddress> = fc.record({
  index: fc.constant(DEVICE),
  address,
  prefixLength: fc.constantFrom(16, 24, 32),
  scope: fc.constant(RT_SCOPE_UNIVERSE),
  flags: fc.constant(0x80),
});

function anyFdbEntry(mac: fc.Arbitrary<string>): fc.Arbitrary<FdbEntry> {
  return fc.record({
    index: fc.constant(DEVICE),
    mac,
    destination: remote,
    state: fc.constantFrom(NUD_PERMANENT, NUD_PERMANENT, 0x02),
  });
}

function anyObjects(macs: fc.Arbitrary<string>): fc.Arbitrary<KernelObjects> {
  const remotes = ({ mac, destination }: FdbEntry) => mac === ZEROS ? `${destination}` : mac;
  return fc.record({
    addresses: fc.uniqueArray(anyAddress, { selector: addressKey, maxLength: 4 }),
    neighbours: fc.uniqueArray(anyNeighbour, { selector: neighbourKey, maxLength: 5 }),
    fdb: fc.uniqueArray(anyFdbEntry(macs), { selector: remotes, maxLength: 6 }),
    routes: fc.uniqueArray(anyRoute, { selector: routeKey, maxLength: 8 }),
  });
}

/** Objects as the kernel may have them. */
export const anyActual = anyObjects(fc.oneof(mac, fc.constant(ZEROS)));

/** Objects as a backend may want them. */
export const anyDesired = anyObjects(mac);
