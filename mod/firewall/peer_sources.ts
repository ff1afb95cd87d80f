import { type IPv4, Prefix } from "../ip/mod.ts";

/** A peer as far as its packets' sources go. */
export interface Peer {
  readonly subnet: Prefix;
  /** Docker's masquerade gives packets this source where they leave by the host's own interface. */
  readonly publicIP: IPv4;
}

/** Elements of a set that have to come or go. */
export interface SourcesChange {
  readonly added: readonly Prefix[];
  readonly removed: readonly Prefix[];
}

/**
 * The sources that packets of peers may carry when nothing encapsulates them: each peer's subnet and public
 * IP. Several subnets may name one public IP, so that elements are counted.
 */
export class PeerSources {
  /** By {@linkcode Prefix.key}. */
  readonly #counts = new Map<number, { readonly prefix: Prefix; readonly count: number }>();

  /** How many different elements. */
  get size(): number {
    return this.#counts.size;
  }

  /** All elements, each once. */
  *values(): Generator<Prefix> {
    for (const { prefix } of this.#counts.values()) yield prefix;
  }

  /** True for an element. */
  has(prefix: Prefix): boolean {
    return this.#counts.has(prefix.key);
  }

  /** Takes these peers in place of those before. */
  replace(peers: Iterable<Peer>): void {
    this.#counts.clear();
    for (const peer of peers) for (const prefix of sourcesOf(peer)) this.#count(prefix, 1);
  }

  /** Takes peers out and in. Cost: O(changes). @returns what comes of it for a set */
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
