import type { IPv4, Prefix } from "../ip/mod.ts";
import type { GoObject } from "./go_json.ts";

/** The cluster-wide network configuration, decoded, defaulted and validated. */
export interface NetworkConfig {
  /** All subnets lie in it. */
  readonly network: Prefix;
  /** Prefix length of a lease. */
  readonly subnetLen: number;
  /** First address of the first subnet that may be leased. */
  readonly subnetMin: IPv4;
  /** First address of the last subnet that may be leased (inclusive). */
  readonly subnetMax: IPv4;
  readonly backend: {
    /** Lower-cased `Backend.Type`; `udp` when `Backend` is absent. */
    readonly type: string;
    /** The `Backend` object, for the backend to read its own options from. */
    readonly options: GoObject;
  };
  /** The firewall rules are to be made with nftables, on hosts that have it and were told nothing else. */
  readonly enableNFTables: boolean;
  /** The whole object, for what is left of it unread. */
  readonly members: GoObject;
  /** As stored: two configs are the same when their texts are. */
  readonly text: string;
}
