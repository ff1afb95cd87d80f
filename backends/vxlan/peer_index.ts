import type { IPv4, Prefix } from "../../mod/ip/mod.ts";
import type { FdbEntry, Mac, Neighbour, Route } from "../../mod/sys/mod.ts";
import type { KernelObjects } from "../reconcile.ts";
import type { PeerObjects } from "./desired.ts";
import { Claims } from "./claims.ts";

/**
 * The objects of the peers that are programmed, by subnet, by VTEP and by neighbour.
 *
 * A subnet has a route of its own. The kernel has one FDB entry per MAC and one neighbour per
 * address, though, and several peers may need the same: a host that moves has two subnets on one
 * VTEP for a while, a copied lease has the base address of another. Such an entry stays until the
 * last peer that needs it goes, and says what the latest of those that are there asked for. Some 400
 * bytes a peer.
 */
export class PeerIndex {
  /** By {@linkcode Prefix.key}. */
  readonly #peers = new Map<number, PeerObjects>();
  readonly #fdb = new Claims<Mac, FdbEntry>();
  readonly #neighbours = new Claims<IPv4, Neighbour>();

  /** How many peers. */
  get size(): number {
    return this.#peers.size;
  }

  /** The objects that the peer with exactly this subnet asks for. */
  get(subnet: Prefix): PeerObjects | undefined {
    return this.#peers.get(subnet.key);
  }

  /** The FDB entry of a VTEP. */
  vtep(mac: Mac): FdbEntry | undefined {
    return this.#fdb.get(mac);
  }

  /** The neighbour with this address. */
  neighbour(address: IPv4): Neighbour | undefined {
    return this.#neighbours.get(address);
  }

  /** Forgets everything. */
  clear(): void {
    this.#peers.clear();
    this.#fdb.clear();
    this.#neighbours.clear();
  }

  /** Adds a peer that is not there. */
  add(objects: PeerObjects): void {
    const { neighbour, fdb, route } = objects;
    this.#peers.set(route.destination.key, objects);
    if (fdb !== undefined) this.#fdb.add(fdb.mac, fdb);
    if (neighbour !== undefined) this.#neighbours.add(neighbour.address, neighbour);
  }

  /** Removes a peer; returns what it had asked for. */
  remove(subnet: Prefix): PeerObjects | undefined {
    const objects = this.#peers.get(subnet.key);
    if (objects === undefined) return undefined;
    this.#peers.delete(subnet.key);
    const { neighbour, fdb } = objects;
    if (fdb !== undefined) this.#fdb.remove(fdb.mac, fdb);
    if (neighbour !== undefined) this.#neighbours.remove(neighbour.address, neighbour);
    return objects;
  }

  /** All objects, each list read once. */
  objects(): Pick<KernelObjects, "neighbours" | "fdb" | "routes"> {
    return {
      neighbours: this.#neighbours.values(),
      fdb: this.#fdb.values(),
      routes: Array.from(this.#peers.values(), ({ route }) => route),
    };
  }

  /**
   * Replaces some peers by others.
   *
   * @returns the objects that were there and those that are to be, for `diff`: all that the peers
   * touch, and nothing else
   */
  change(
    leaving: Iterable<Prefix>,
    coming: readonly PeerObjects[],
  ): { before: KernelObjects; after: KernelObjects } {
    const left = new Set<PeerObjects>();
    for (const subnet of [...leaving, ...coming.map(({ route }) => route.destination)]) {
      const objects = this.get(subnet);
      if (objects !== undefined) left.add(objects);
    }
    const macs = new Set<Mac>();
    const addresses = new Set<IPv4>();
    for (const { fdb, neighbour } of [...left, ...coming]) {
      if (fdb !== undefined) macs.add(fdb.mac);
      if (neighbour !== undefined) addresses.add(neighbour.address);
    }
    const standing = (peers: Iterable<PeerObjects>): KernelObjects => ({
      addresses: [],
      neighbours: Array.from(addresses).flatMap((address) => this.neighbour(address) ?? []),
      fdb: Array.from(macs).flatMap((mac) => this.vtep(mac) ?? []),
      routes: Array.from(peers, ({ route }): Route => route),
    });
    const before = standing(left);
    for (const { route } of left) this.remove(route.destination);
    for (const objects of coming) this.add(objects);
    return { before, after: standing(coming) };
  }
}
