import type { IPv4, Prefix } from "../ip/mod.ts";
import { type Lease, LEASE_TTL, leaseKey, PERMANENT, type StoredNodeRecord } from "../lease/mod.ts";
import type { Change, ConfigText, Snapshot } from "../store/mod.ts";
import type { WireLease, WireLeaseEvent } from "../store/remote/protocol.ts";
import type { FeedState } from "./feed.ts";

/** The last time that RFC 3339 has a text for, in milliseconds since the epoch. */
const LATEST = Date.UTC(9999, 11, 31, 23, 59, 59);

/** A change, and what it is to clients that know leases only. */
export interface NetworkEntry {
  readonly change: Change;
  readonly event?: WireLeaseEvent;
}

/** What a store holds of one network, as far as it was heard of. */
export class NetworkState implements FeedState<Change, Snapshot, NetworkEntry> {
  #config: ConfigText = { missing: "not read yet" };
  readonly #leases = new Map<string, Lease>();
  readonly #agents = new Map<IPv4, StoredNodeRecord>();
  /** When leases run out, by key: clients are told the same time of one revision each time. */
  readonly #expirations = new Map<string, { readonly revision: string; readonly at: number }>();
  readonly #now: () => number;

  /** @param now milliseconds since the epoch. @default Date.now */
  constructor(now: () => number = Date.now) {
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

  replace({ config, leases, agents }: Snapshot): NetworkEntry[] {
    const changes: Change[] = [{ type: "config", config }];
    const [subnets, publicIPs] = [new Set<string>(), new Set<IPv4>()];
    for (const { subnet } of leases) subnets.add(leaseKey(subnet));
    for (const { publicIP } of agents) publicIPs.add(publicIP);
    // Gone first: what is new may lie where something was.
    for (const [key, { subnet }] of this.#leases) {
      if (!subnets.has(key)) changes.push({ type: "lease-removed", subnet });
    }
    for (const publicIP of this.#agents.keys()) {
      if (!publicIPs.has(publicIP)) changes.push({ type: "agent-removed", publicIP });
    }
    for (const lease of leases) changes.push({ type: "lease", lease });
    for (const agent of agents) changes.push({ type: "agent", agent });
    return changes.map((change) => this.apply(change)).filter((entry) => entry !== undefined);
  }

  apply(change: Change): NetworkEntry | undefined {
    switch (change.type) {
      case "config": {
        const isSame = sameConfig(this.#config, change.config);
        this.#config = change.config;
        return isSame ? undefined : { change };
      }
      case "lease": {
        const { lease } = change;
        const key = leaseKey(lease.subnet);
        if (this.#leases.get(key)?.revision === lease.revision) return undefined;
        this.#leases.set(key, lease);
        return { change, event: { type: "added", lease: this.onWire(lease) } };
      }
      case "lease-removed": {
        const key = leaseKey(change.subnet);
        const lease = this.#leases.get(key);
        if (lease === undefined) return undefined;
        this.#leases.delete(key);
        const event = { type: "removed", lease: this.onWire(lease) } as const;
        this.#expirations.delete(key);
        return { change, event };
      }
      case "agent": {
        const { agent } = change;
        if (this.#agents.get(agent.publicIP)?.revision === agent.revision) return undefined;
        this.#agents.set(agent.publicIP, agent);
        return { change };
      }
      case "agent-removed":
        return this.#agents.delete(change.publicIP) ? { change } : undefined;
    }
  }

  /** A lease as clients are told it: with the time at which it runs out, by this host's clock. */
  onWire(lease: Lease): WireLease {
    const { subnet, attributes } = lease;
    return { subnet, attributes, expiration: this.#expiration(lease) };
  }

  #expiration({ subnet, revision, ttl }: Lease): number | undefined {
    if (ttl === PERMANENT) return undefined;
    const key = leaseKey(subnet);
    const known = this.#expirations.get(key);
    if (known?.revision === revision) return known.at;
    // Where a listing does not tell, whoever needs it asks for the lease itself.
    const at = Math.min(this.#now() + (ttl ?? LEASE_TTL) * 1000, LATEST);
    if (ttl !== undefined) this.#expirations.set(key, { revision, at });
    return at;
  }
}

/** The event by which a client learns that a lease is gone that nobody remembers. */
export function forgotten(subnet: Prefix): WireLeaseEvent {
  return { type: "removed", lease: { subnet, attributes: { publicIP: 0 }, expiration: undefined } };
}

function sameConfig(a: ConfigText, b: ConfigText): boolean {
  // The store's words for what is missing hold a number that counts on.
  return "text" in a ? "text" in b && a.text === b.text : "missing" in b;
}
