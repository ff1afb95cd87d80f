import type { IPv4, Prefix } from "../../mod/ip/mod.ts";
import type { FdbEntry, Mac, Neighbour, Route } from "../../mod/sys/mod.ts";
import type { KernelObjects } from "../reconcile.ts";
import type { PeerObjects } from "./driver.ts";
import { SharedEntries } from "./shared_entries.ts";

/**
 * The kernel objects of the programmed peers, by subnet, by VTEP and by neighbour.
 *
 * A subnet has a route of its own. The kernel has one FDB entry per MAC and one neighbour per
 * address, though, and several peers may need the same: a host that moves has two subnets on one
 * VTEP for a while, a copied lease has the base address of another. Such an entry stays until the
 * last peer that needs it goes, and is as the latest of the present peers asked for. Some 400 bytes a peer.
 */
export class PeerIndex {
  /** By {@linkcode Prefix.key}. */
  readonly #peers = new Map<number, PeerObjects>();
  readonly #fdb = new SharedEntries<Mac, FdbEntry>();
  readonly #neighbours = new SharedEntries<IPv4, Neighbour>();

  /** Number of peers. */
  get size(): number {
    return this.#peers.size;
  }

  /** Returns the objects of the peer with exactly this subnet. */
  get(subnet: Prefix): PeerObjects | undefined {
    return this.#peers.get(subnet.key);
  }

  /** Returns the FDB entry of a VTEP. */
  vtep(mac: Mac): FdbEntry | undefined {
    return this.#fdb.get(mac);
  }

  /** Returns the neighbour with this address. */
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

  /** Removes a peer. @returns its objects; `undefined` when there was none */
  remove(subnet: Prefix): PeerObjects | undefined {
    const objects = this.#peers.get(subnet.key);
    if (objects === undefined) return undefined;
    this.#peers.delete(subnet.key);
    const { neighbour, fdb } = objects;
    if (fdb !== undefined) this.#fdb.remove(fdb.mac, fdb);
    if (neighbour !== undefined) this.#neighbours.remove(neighbour.address, neighbour);
    return objects;
  }

  /** Returns all objects; each list can be read once. */
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
   * @returns the objects before and after, for `diff`: all that the peers need, and nothing else
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
