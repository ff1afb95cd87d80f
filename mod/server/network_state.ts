import type { Entries } from "../store/entries.ts";
import type { KvChange, Listing } from "../store/kv/kv.ts";
import type { ConfigText } from "../store/mod.ts";
import type { FeedState } from "./feed.ts";

/** The known content of one network's store: its config, and the keys of leases and node records. */
export class NetworkState implements FeedState<KvChange, Listing, KvChange> {
  readonly #entries: Entries;
  #config: ConfigText = { missing: "not read yet" };
  /** Revisions of the leases and node records that can be read, by key. */
  readonly #revisions = new Map<string, string>();

  constructor(entries: Entries) {
    this.#entries = entries;
  }

  get config(): ConfigText {
    return this.#config;
  }

  /** True for the key of a config, lease or node record that is there and can be read. */
  has(key: string): boolean {
    return key === this.#entries.configKey ? "text" in this.#config : this.#revisions.has(key);
  }

  replace({ entries, missing }: Listing): KvChange[] {
    const { configKey } = this.#entries;
    const listed = new Set<string>();
    for (const { key } of entries) listed.add(key);
    const known = ["text" in this.#config ? [configKey] : [], this.#revisions.keys()];
    // Deletions first: a new lease may overlap a deleted one.
    const changes: KvChange[] = known.flatMap((keys) => [...keys]).filter((key) => !listed.has(key))
      .map((key) => ({ type: "delete", key, missing: missing(key) }));
    if ("missing" in this.#config) this.#config = { missing: missing(configKey) };
    for (const entry of entries) changes.push({ type: "put", entry });
    return changes.map((change) => this.apply(change)).filter((change) => change !== undefined);
  }

  apply(change: KvChange): KvChange | undefined {
    const key = change.type === "put" ? change.entry.key : change.key;
    const what = this.#entries.change(change);
    switch (what?.type) {
      case undefined:
        return undefined;
      case "config": {
        const isSame = sameConfig(this.#config, what.config);
        this.#config = what.config;
        return isSame ? undefined : change;
      }
      case "lease":
      case "agent": {
        const { revision } = what.type === "lease" ? what.lease : what.agent;
        if (this.#revisions.get(key) === revision) return undefined;
        this.#revisions.set(key, revision);
        return change;
      }
      case "lease-removed":
      case "agent-removed":
        if (!this.#revisions.delete(key)) return undefined;
        // An entry whose value cannot be read is gone for clients.
        return change.type === "delete" ? change : { type: "delete", key, missing: "" };
    }
  }
}

function sameConfig(a: ConfigText, b: ConfigText): boolean {
  // The store's message for a missing config may hold a number that grows.
  return "text" in a ? "text" in b && a.text === b.text : "missing" in b;
}
