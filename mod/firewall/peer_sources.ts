import { type IPv4, Prefix } from "../ip/mod.ts";

/** Source addresses of a peer's packets. */
export interface Peer {
  readonly subnet: Prefix;
  /** Source of packets that Docker masquerades when they leave by the host's own interface. */
  readonly publicIP: IPv4;
}

/** Elements to add to a set and to remove from it. */
export interface SourcesChange {
  readonly added: readonly Prefix[];
  readonly removed: readonly Prefix[];
}

/**
 * Allowed sources of peers' packets without encapsulation: each peer's subnet and public IP. Counts elements, since
 * several subnets may have one public IP.
 */
export class PeerSources {
  /** By {@linkcode Prefix.key}. */
  readonly #counts = new Map<number, { readonly prefix: Prefix; readonly count: number }>();

  /** Number of distinct elements. */
  get size(): number {
    return this.#counts.size;
  }

  /** Yields each distinct element. */
  *values(): Generator<Prefix> {
    for (const { prefix } of this.#counts.values()) yield prefix;
  }

  /** Returns whether a prefix is an element. */
  has(prefix: Prefix): boolean {
    return this.#counts.has(prefix.key);
  }

  /** Replaces all peers. */
  replace(peers: Iterable<Peer>): void {
    this.#counts.clear();
    for (const peer of peers) for (const prefix of sourcesOf(peer)) this.#count(prefix, 1);
  }

  /** Removes and adds peers. Cost: O(changes). @returns the change of distinct elements */
  change(removed: Iterable<Peer>, added: Iterable<Peer>): SourcesChange {
    const before = new Map<number, boolean>();
    const touched: Prefix[] = [];
    const count = (prefix: Prefix, step: 1 | -1) => {
      if (!before.has(prefix.key)) {
        before.set(prefix.key, this.has(prefix));
        touched.push(prefix);
      }
      this.#count(prefix, step);
    };
    for (const peer of removed) for (const prefix of sourcesOf(peer)) count(prefix, -1);
    for (const peer of added) for (const prefix of sourcesOf(peer)) count(prefix, 1);
    return {
      added: touched.filter((prefix) => !before.get(prefix.key) && this.has(prefix)),
      removed: touched.filter((prefix) => before.get(prefix.key) && !this.has(prefix)),
    };
  }

  #count(prefix: Prefix, step: 1 | -1): void {
    const { key } = prefix;
    const count = (this.#counts.get(key)?.count ?? 0) + step;
    if (count > 0) this.#counts.set(key, { prefix, count });
    else this.#counts.delete(key);
  }
}

function sourcesOf({ subnet, publicIP }: Peer): Prefix[] {
  return [subnet, new Prefix(publicIP, 32)];
}
