import { leaseKey } from "../../mod/lease/mod.ts";
import type { Prefix } from "../../mod/ip/mod.ts";
import type { FdbEntry, Mac, Neighbour, Route } from "../../mod/sys/mod.ts";
import type { KernelObjects } from "../reconcile.ts";
import type { PeerObjects } from "./desired.ts";

/**
 * The objects of the peers that are programmed, by subnet and by VTEP.
 *
 * A VTEP may serve several subnets while its host moves from one to another: its FDB entry stays
 * until the last of them goes. Some 300 bytes a peer.
 */
export class PeerIndex {
  readonly #peers = new Map<string, PeerObjects>();
  readonly #vteps = new Map<Mac, { entry: FdbEntry; users: number }>();

  /** How many peers. */
  get size(): number {
    return this.#peers.size;
  }

  /** The objects of the peer with exactly this subnet. */
  get(subnet: Prefix): PeerObjects | undefined {
    return this.#peers.get(leaseKey(subnet));
  }

  /** The FDB entry of a VTEP. */
  vtep(mac: Mac): FdbEntry | undefined {
    return this.#vteps.get(mac)?.entry;
  }

  /** Forgets everything. */
  clear(): void {
    this.#peers.clear();
    this.#vteps.clear();
  }

  /** Adds a peer that is not there. */
  add(objects: PeerObjects): void {
    this.#peers.set(leaseKey(objects.route.destination), objects);
    if (objects.fdb === undefined) return;
    const users = (this.#vteps.get(objects.fdb.mac)?.users ?? 0) + 1;
    this.#vteps.set(objects.fdb.mac, { entry: objects.fdb, users });
  }

  /** Removes a peer; returns what it had. */
  remove(subnet: Prefix): PeerObjects | undefined {
    const key = leaseKey(subnet);
    const objects = this.#peers.get(key);
    if (objects === undefined) return undefined;
    this.#peers.delete(key);
    const vtep = objects.fdb && this.#vteps.get(objects.fdb.mac);
    if (vtep !== undefined && --vtep.users === 0) this.#vteps.delete(objects.fdb!.mac);
    return objects;
  }

  /** All objects, each list read once. */
  objects(): Pick<KernelObjects, "neighbours" | "fdb" | "routes"> {
    const neighbours: Neighbour[] = [];
    const routes: Route[] = [];
    for (const { neighbour, route } of this.#peers.values()) {
      if (neighbour !== undefined) neighbours.push(neighbour);
      routes.push(route);
    }
    return { neighbours, fdb: Array.from(this.#vteps.values(), ({ entry }) => entry), routes };
  }

  /**
   * Replaces some peers by others.
   *
   * @returns the objects that were there and those that are to be, for `diff`: of VTEPs that
   * several peers share only what really changes
   */
  change(
    leaving: Iterable<Prefix>,
    coming: Iterable<PeerObjects>,
  ): { before: KernelObjects; after: KernelObjects } {
    const before = new Gathered();
    const after = new Gathered();
    for (const subnet of leaving) {
      const objects = this.remove(subnet);
      if (objects !== undefined) before.gather(objects);
    }
    for (const objects of coming) {
      this.add(objects);
      after.gather(objects);
    }
    for (const { mac } of before.fdb) {
      const standing = this.vtep(mac);
      if (standing !== undefined && !after.fdb.includes(standing)) after.fdb.push(standing);
    }
    return { before, after };
  }
}

class Gathered implements KernelObjects {
  readonly addresses = [];
  readonly neighbours: Neighbour[] = [];
  readonly fdb: FdbEntry[] = [];
  readonly routes: Route[] = [];

  gather({ neighbour, fdb, route }: PeerObjects): void {
    if (neighbour !== undefined) this.neighbours.push(neighbour);
    if (fdb !== undefined) this.fdb.push(fdb);
    this.routes.push(route);
  }
}
