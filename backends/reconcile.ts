/**
 * From desired kernel objects to the operations that make them so: pure functions that every
 * backend shares and that unit tests call without root.
 *
 * @module
 */
import type {
  FdbEntry,
  InterfaceAddress,
  Neighbour,
  Operation,
  Route,
} from "../mod/sys/netlink/wire/types.ts";

/**
 * Protocol number of the routes that flanneld installs (`ip route ... proto 102`), which distinguishes them from routes of
 * other programs. Not assigned in linux/rtnetlink.h nor in iproute2's rt_protos.
 */
export const RTPROT_FLANNEL = 102;

/** NUD_REACHABLE of linux/neighbour.h: confirmed, ages from now on. */
export const NUD_REACHABLE = 0x02;

/** NUD_NOARP of linux/neighbour.h: needs no resolution, as the kernel's own multicast entries. */
export const NUD_NOARP = 0x40;

/** Kernel objects of one device. */
export interface KernelObjects {
  readonly addresses: Iterable<InterfaceAddress>;
  readonly neighbours: Iterable<Neighbour>;
  readonly fdb: Iterable<FdbEntry>;
  readonly routes: Iterable<Route>;
}

/**
 * Returns the operations that turn `actual` into `desired`.
 *
 * @param actual the objects that flanneld manages: the caller leaves those of other programs out
 * @returns in an order that keeps packets flowing: addresses, then what a route needs before the
 * route, then removals, routes first. A changed object is replaced in place, never deleted first. A
 * route that is missing is added, which fails where another program has one of its key.
 */
export function diff(desired: KernelObjects, actual: KernelObjects): Operation[] {
  const operations: Operation[] = [];
  const removals: Operation[] = [];

  const addresses = index(actual.addresses, addressKey);
  for (const object of desired.addresses) {
    if (!addresses.delete(addressKey(object))) {
      operations.push({ op: "replace", kind: "address", object });
    }
  }

  const neighbours = index(actual.neighbours, neighbourKey);
  for (const object of desired.neighbours) {
    const is = take(neighbours, neighbourKey(object));
    if (is === undefined || !sameNeighbour(is, object)) {
      operations.push({ op: "replace", kind: "neighbour", object });
    }
  }

  const fdb = index(actual.fdb, fdbKey);
  for (const object of desired.fdb) {
    const is = take(fdb, fdbKey(object));
    if (is === undefined || is.state !== object.state) {
      operations.push({ op: "replace", kind: "fdb", object });
    }
  }

  const routes = index(actual.routes, routeKey);
  for (const object of desired.routes) {
    const is = take(routes, routeKey(object));
    // A route that is not among the actual ones belongs to another program and must not be replaced.
    if (is === undefined) operations.push({ op: "add", kind: "route", object });
    else if (!sameRoute(is, object)) {
      operations.push({ op: "replace", kind: "route", object });
    }
  }

  for (const object of routes.values()) removals.push({ op: "delete", kind: "route", object });
  for (const object of fdb.values()) removals.push({ op: "delete", kind: "fdb", object });
  for (const object of neighbours.values()) {
    removals.push({ op: "delete", kind: "neighbour", object });
  }
  for (const object of addresses.values()) {
    removals.push({ op: "delete", kind: "address", object });
  }
  return operations.concat(removals);
}

function index<T, K>(objects: Iterable<T>, key: (object: T) => K): Map<K, T> {
  const map = new Map<K, T>();
  for (const object of objects) map.set(key(object), object);
  return map;
}

function take<K, T>(map: Map<K, T>, key: K): T | undefined {
  const value = map.get(key);
  if (value !== undefined) map.delete(key);
  return value;
}

function addressKey({ address, prefixLength }: InterfaceAddress): number {
  return address * 64 + prefixLength;
}

function neighbourKey({ index, address }: Neighbour): number {
  return index * 2 ** 32 + address;
}

/**
 * With the destination: an entry is deleted by both, and the MAC of zeros may have several. A new
 * remote replaces the old one of its MAC, whose deletion then finds nothing.
 */
function fdbKey({ mac, destination }: FdbEntry): string {
  return `${mac} ${destination}`;
}

/** Returns the key of a route in its table (besides TOS, which flanneld does not use). */
function routeKey({ destination, metric }: Route): number | string {
  const key = destination.address * 64 + destination.length;
  // 32 + 6 + 15 bits are what a number holds exactly.
  return metric < 2 ** 15 ? metric * 2 ** 38 + key : `${key} ${metric}`;
}

/** Returns whether the neighbour needs no change. */
export function sameNeighbour(a: Neighbour, b: Neighbour): boolean {
  return a.address === b.address && a.mac === b.mac && a.state === b.state;
}

/** Returns whether the route needs no change. */
export function sameRoute(a: Route, b: Route): boolean {
  return a.oif === b.oif && a.gateway === b.gateway && a.onlink === b.onlink &&
    a.protocol === b.protocol && a.scope === b.scope && a.source === b.source;
}
