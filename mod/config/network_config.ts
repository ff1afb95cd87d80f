import type { IPv4, Prefix } from "../ip/mod.ts";
import type { GoObject } from "./go_json.ts";

/** The cluster-wide network configuration, decoded, defaulted and validated. */
export interface NetworkConfig {
  /** Range of all subnets. */
  readonly network: Prefix;
  /** Prefix length of a lease. */
  readonly subnetLen: number;
  /** First address of the first subnet to lease. */
  readonly subnetMin: IPv4;
  /** First address of the last subnet to lease. */
  readonly subnetMax: IPv4;
  readonly backend: {
    /** Lower-cased `Backend.Type`; `udp` when `Backend` is absent. */
    readonly type: string;
    /** The `Backend` object with the backend's own options. */
    readonly options: GoObject;
  };
  /** Hosts use nftables for the firewall rules if they have it, unless `-firewall` selects another tool. */
  readonly enableNFTables: boolean;
  /** The whole object, to find unread keys. */
  readonly members: GoObject;
  /** The stored text; configs are equal when their texts are equal. */
  readonly text: string;
}
