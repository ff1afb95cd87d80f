import type { IPv4, Prefix } from "../ip/mod.ts";
import { type Lease, LEASE_TTL, leaseKey, PERMANENT, type StoredNodeRecord } from "../lease/mod.ts";
import type { Entries } from "../store/entries.ts";
import type { KvChange, Listing } from "../store/kv/kv.ts";
import type { ConfigText } from "../store/mod.ts";
import type { WireLease, WireLeaseEvent } from "../store/remote/flannel/protocol.ts";
import type { FeedState } from "./feed.ts";

/** The last time that RFC 3339 has a text for, in milliseconds since the epoch. */
const LATEST = Date.UTC(9999, 11, 31, 23, 59, 59);

/** A change, and its event in flannel 0.7.1's protocol. */
export interface NetworkEntry {
  readonly change: KvChange;
  readonly event?: WireLeaseEvent;
}

/** The known content of one network's store. */
export class NetworkState implements FeedState<KvChange, Listing, NetworkEntry> {
  readonly #entries: Entries;
  #config: ConfigText = { missing: "not read yet" };
  readonly #leases = new Map<string, Lease>();
  readonly #agents = new Map<IPv4, StoredNodeRecord>();
  /** Expiry of leases, by key: clients receive the same time of one revision each time. */
  readonly #expirations = new Map<string, { readonly revision: string; readonly at: number }>();
  readonly #now: () => number;

  /** @param now milliseconds since the epoch. @default Date.now */
  constructor(entries: Entries, now: () => number = Date.now) {
    this.#entries = entries;
    this.#now = now;
  }

  get config(): ConfigText {
    return this.#config;
  }

  get leases(): Iterable<Lease> {
    return this.#leases.values();
  }

  /** True where the host with that public IP has a node record. */
  hasAgent(publicIP: IPv4): boolean {
    return this.#agents.has(publicIP);
  }

  /** True for the key of a config, lease or node record that is there and can be read. */
  has(key: string): boolean {
    const what = this.#entries.parseKey(key);
    switch (what?.type) {
      case "config":
        return "text" in this.#config;
      case "lease":
        return this.#leases.has(leaseKey(what.subnet));
      case "agent":
        return this.#agents.has(what.publicIP);
      default:
        return false;
    }
  }

  replace({ entries, missing }: Listing): NetworkEntry[] {
    const { configKey } = this.#entries;
    const listed = new Set<string>();
    for (const { key } of entries) listed.add(key);
    const known = [
      ...("text" in this.#config ? [configKey] : []),
      ...Array.from(this.#leases.values(), ({ subnet }) => this.#entries.leaseKey(subnet)),
      ...Array.from(this.#agents.keys(), (publicIP) => this.#entries.agentKey(publicIP)),
    ];
    // Deletions first: a new lease may overlap a deleted one.
    const changes: KvChange[] = known.filter((key) => !listed.has(key))
      .map((key) => ({ type: "delete", key, missing: missing(key) }));
    if ("missing" in this.#config) this.#config = { missing: missing(configKey) };
    for (const entry of entries) changes.push({ type: "put", entry });
    return changes.map((change) => this.apply(change)).filter((entry) => entry !== undefined);
  }

  apply(change: KvChange): NetworkEntry | undefined {
    const what = this.#entries.change(change);
    switch (what?.type) {
      case undefined:
        return undefined;
      case "config": {
        const isSame = sameConfig(this.#config, what.config);
        this.#config = what.config;
        return isSame ? undefined : { change };
      }
      case "lease": {
        const { lease } = what;
        const key = leaseKey(lease.subnet);
        if (this.#leases.get(key)?.revision === lease.revision) return undefined;
        this.#leases.set(key, lease);
        return { change, event: { type: "added", lease: this.onWire(lease) } };
      }
      case "lease-removed": {
        const key = leaseKey(what.subnet);
        const lease = this.#leases.get(key);
        if (lease === undefined) return undefined;
        this.#leases.delete(key);
        const event = { type: "removed", lease: this.onWire(lease) } as const;
        this.#expirations.delete(key);
        return { change: asDeletion(change), event };
      }
      case "agent": {
        const { agent } = what;
        if (this.#agents.get(agent.publicIP)?.revision === agent.revision) return undefined;
        this.#agents.set(agent.publicIP, agent);
        return { change };
      }
      case "agent-removed":
        return this.#agents.delete(what.publicIP) ? { change: asDeletion(change) } : undefined;
    }
  }

  /** A lease on the wire: with its time of expiry, by this host's clock. */
  onWire(lease: Lease): WireLease {
    const { subnet, attributes } = lease;
    return { subnet, attributes, expiration: this.#expiration(lease) };
  }

  #expiration({ subnet, revision, ttl }: Lease): number | undefined {
    if (ttl === PERMANENT) return undefined;
    const key = leaseKey(subnet);
    const known = this.#expirations.get(key);
    if (known?.revision === revision) return known.at;
    // Where a listing lacks the lifetime, clients that need it read the lease itself.
    const at = Math.min(this.#now() + (ttl ?? LEASE_TTL) * 1000, LATEST);
    if (ttl !== undefined) this.#expirations.set(key, { revision, at });
    return at;
  }
}

/** The event of the removal of a lease that is not known here. */
export function forgotten(subnet: Prefix): WireLeaseEvent {
  return { type: "removed", lease: { subnet, attributes: { publicIP: 0 }, expiration: undefined } };
}

/** An entry whose value cannot be read is gone for clients. */
function asDeletion(change: KvChange): KvChange {
  if (change.type === "delete") return change;
  return { type: "delete", key: change.entry.key, missing: "" };
}

function sameConfig(a: ConfigText, b: ConfigText): boolean {
  // The store's message for a missing config may hold a number that grows.
  return "text" in a ? "text" in b && a.text === b.text : "missing" in b;
}
