import type { IPv4 } from "../../ip/mod.ts";
import type { StoredNodeRecord } from "../../lease/mod.ts";
import { MASQUERADE_FEATURE } from "../firewall/source_policy.ts";

const NONE: readonly string[] = [];

/** The features that each host advertises in its node record: of its data path, and masquerading. */
export class PeerFeatures {
  readonly #features = new Map<IPv4, readonly string[]>();
  readonly #changed = new Set<IPv4>();

  /** Returns the features of a host; none when its record has none, or it has no record (upstream flannel). */
  of(publicIP: IPv4): readonly string[] {
    return this.#features.get(publicIP) ?? NONE;
  }

  /** Applies a record that was written. */
  put({ publicIP, record }: StoredNodeRecord): void {
    // A claimant is not the holder yet.
    const features = record.claims === undefined ? record.features ?? NONE : NONE;
    // Without credentials nobody can make this host accept more sources.
    const isMarked = record.isUnauthenticated && !features.includes(MASQUERADE_FEATURE);
    this.#set(publicIP, isMarked ? [...features, MASQUERADE_FEATURE] : features);
  }

  /** Applies the removal of a record. */
  remove(publicIP: IPv4): void {
    this.#set(publicIP, NONE);
  }

  /** Replaces all records. */
  replace(agents: Iterable<StoredNodeRecord>): void {
    const gone = new Set(this.#features.keys());
    for (const agent of agents) {
      this.put(agent);
      gone.delete(agent.publicIP);
    }
    for (const publicIP of gone) this.remove(publicIP);
  }

  /** Returns the hosts whose features have changed since the last call. */
  takeChanged(): ReadonlySet<IPv4> {
    const changed = new Set(this.#changed);
    this.#changed.clear();
    return changed;
  }

  #set(publicIP: IPv4, features: readonly string[]): void {
    if (this.of(publicIP).join() === features.join()) return;
    if (features.length === 0) this.#features.delete(publicIP);
    else this.#features.set(publicIP, features);
    this.#changed.add(publicIP);
  }
}
