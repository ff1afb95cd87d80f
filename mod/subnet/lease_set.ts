import { type Lease, sameAttributes } from "../lease/mod.ts";
import type { Prefix } from "../ip/mod.ts";

/** Difference between two states of a {@linkcode LeaseSet}. */
export interface LeaseSetChange {
  readonly added: readonly Lease[];
  readonly removed: readonly Lease[];
  /** Same subnet, other attributes. A renewal alone is not a change. */
  readonly changed: readonly { readonly before: Lease; readonly after: Lease }[];
}

/** An event of one subnet. */
export type LeaseEvent = { readonly put: Lease } | { readonly remove: Prefix };

/** True for no difference. */
export function isEmpty(change: LeaseSetChange): boolean {
  return change.added.length + change.removed.length + change.changed.length === 0;
}

/** The leases known at one moment, by subnet. */
export class LeaseSet {
  /** By {@linkcode Prefix.key}. */
  readonly #leases = new Map<number, Lease>();

  /** @param leases at most one per subnet; of several the last counts */
  constructor(leases: Iterable<Lease> = []) {
    for (const lease of leases) this.#leases.set(lease.subnet.key, lease);
  }

  /** Number of leases. */
  get size(): number {
    return this.#leases.size;
  }

  /** All leases. */
  values(): IterableIterator<Lease> {
    return this.#leases.values();
  }

  /** The lease of exactly this subnet. */
  get(subnet: Prefix): Lease | undefined {
    return this.#leases.get(subnet.key);
  }

  /**
   * Applies events in order. Events that cancel out (added and removed at once) leave no trace in
   * the result. Cost: O(events).
   */
  apply(events: Iterable<LeaseEvent>): LeaseSetChange {
    const before = new Map<number, Lease | undefined>();
    for (const event of events) {
      const { key } = "put" in event ? event.put.subnet : event.remove;
      if (!before.has(key)) before.set(key, this.#leases.get(key));
      if ("put" in event) this.#leases.set(key, event.put);
      else this.#leases.delete(key);
    }
    return compare(before, this.#leases);
  }

  /**
   * Takes a snapshot in place of what was known. A lease whose attributes differ counts as
   * changed, which is what flannel misses after lost history. Cost: O(leases).
   */
  replace(leases: Iterable<Lease>): LeaseSetChange {
    const before = new Map<number, Lease | undefined>(this.#leases);
    this.#leases.clear();
    for (const lease of leases) {
      const { key } = lease.subnet;
      this.#leases.set(key, lease);
      if (!before.has(key)) before.set(key, undefined);
    }
    return compare(before, this.#leases);
  }
}

/** Compares the keys of `before`, where `undefined` stands for no lease. */
function compare(
  before: ReadonlyMap<number, Lease | undefined>,
  after: ReadonlyMap<number, Lease>,
): LeaseSetChange {
  const added: Lease[] = [];
  const removed: Lease[] = [];
  const changed: { before: Lease; after: Lease }[] = [];
  for (const [key, was] of before) {
    const is = after.get(key);
    if (was === undefined) {
      if (is !== undefined) added.push(is);
    } else if (is === undefined) removed.push(was);
    else if (
      !sameAttributes(was.attributes, is.attributes) ||
      was.attributes.isUnauthenticated !== is.attributes.isUnauthenticated
    ) {
      changed.push({ before: was, after: is });
    }
  }
  return { added, removed, changed };
}
