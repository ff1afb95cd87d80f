import type { IPv4 } from "../../ip/mod.ts";
import type { Lease, StoredNodeRecord } from "../../lease/mod.ts";
import { info } from "../../observe/mod.ts";
import type { Change, ConfigText, Snapshot, WatchItem } from "../../store/mod.ts";
import { type LeaseEvent, LeaseSet, type LeaseSetChange } from "../../subnet/mod.ts";
import { PeerFeatures } from "./peer_features.ts";

/** The agent's copy of one network in the store, kept up to date from its watch. */
export class StoreView {
  config: ConfigText = { missing: "not read yet" };
  readonly leases: LeaseSet = new LeaseSet();
  /** Features that hosts advertise in their node records. */
  readonly features: PeerFeatures = new PeerFeatures();
  /** Latest change of this host's node record that the agent has not handled; `undefined`: none. */
  recordNews: { readonly agent: StoredNodeRecord | undefined } | undefined;

  /**
   * Replaces everything.
   *
   * @param publicIP this host's
   * @param reason cause of the resync, for the log
   */
  takeSnapshot(snapshot: Snapshot, publicIP: IPv4, reason?: string): LeaseSetChange {
    if (reason !== undefined) info(`read the store again: ${reason}`, { reason });
    this.config = snapshot.config;
    this.features.replace(snapshot.agents);
    this.recordNews = { agent: snapshot.agents.find((agent) => agent.publicIP === publicIP) };
    return this.leases.replace(snapshot.leases);
  }

  /** Applies an item of the watch. @param publicIP this host's */
  take(item: WatchItem, publicIP: IPv4): LeaseSetChange {
    return item.type === "resync"
      ? this.takeSnapshot(item.snapshot, publicIP, item.reason)
      : this.takeChanges(item.changes, publicIP);
  }

  /** Applies changes. @param publicIP this host's */
  takeChanges(changes: readonly Change[], publicIP: IPv4): LeaseSetChange {
    const leases: LeaseEvent[] = [];
    for (const change of changes) {
      switch (change.type) {
        case "config":
          this.config = change.config;
          break;
        case "lease":
          leases.push({ put: change.lease });
          break;
        case "lease-removed":
          leases.push({ remove: change.subnet });
          break;
        case "agent":
          this.features.put(change.agent);
          if (change.agent.publicIP === publicIP) this.recordNews = { agent: change.agent };
          break;
        case "agent-removed":
          this.features.remove(change.publicIP);
          if (change.publicIP === publicIP) this.recordNews = { agent: undefined };
          break;
      }
    }
    return this.leases.apply(leases);
  }

  /** Returns the lease with this public IP, which another host may have written. */
  leaseOf(publicIP: IPv4): Lease | undefined {
    for (const lease of this.leases.values()) {
      if (lease.attributes.publicIP === publicIP) return lease;
    }
    return undefined;
  }
}
