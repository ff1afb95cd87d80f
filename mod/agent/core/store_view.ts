import type { IPv4 } from "../../ip/mod.ts";
import type { Lease, StoredNodeRecord } from "../../lease/mod.ts";
import { info } from "../../observe/mod.ts";
import type { Change, ConfigText, Snapshot } from "../../store/mod.ts";
import { type LeaseEvent, LeaseSet, type LeaseSetChange } from "../../subnet/mod.ts";
import { PeerFeatures } from "./peer_features.ts";

/** What the store is known to hold, as its watch tells it. */
export class StoreView {
  config: ConfigText = { missing: "not read yet" };
  readonly leases: LeaseSet = new LeaseSet();
  /** What hosts take beyond what all do, by their agents' records. */
  readonly features: PeerFeatures = new PeerFeatures();
  /** News of the record under our public IP that has not been acted on; `undefined`: none. */
  recordNews: { readonly agent: StoredNodeRecord | undefined } | undefined;

  /**
   * Takes everything anew.
   *
   * @param publicIP ours
   * @param reason for the log
   */
  takeSnapshot(snapshot: Snapshot, publicIP: IPv4, reason?: string): LeaseSetChange {
    if (reason !== undefined) info(`Read the store anew: ${reason}`, { reason });
    this.config = snapshot.config;
    this.features.replace(snapshot.agents);
    this.recordNews = { agent: snapshot.agents.find((agent) => agent.publicIP === publicIP) };
    return this.leases.replace(snapshot.leases);
  }

  /** Takes what has happened since. @param publicIP ours */
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

  /** The lease with this public IP, whoever wrote it. */
  leaseOf(publicIP: IPv4): Lease | undefined {
    for (const lease of this.leases.values()) {
      if (lease.attributes.publicIP === publicIP) return lease;
    }
    return undefined;
  }
}
