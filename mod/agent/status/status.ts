/**
 * What the agent tells of itself: the JSON of `/status` and of `flanneld status -json`.
 *
 * Members keep their names and meaning within one {@linkcode STATUS_VERSION}; new ones may come. Times
 * are RFC 3339 in UTC, addresses and prefixes are text, counters begin when the data path does.
 *
 * @module
 */

/** Version of the format; a change that breaks readers raises it. */
export const STATUS_VERSION = 1;

/** The whole answer. */
export interface AgentStatus {
  readonly statusVersion: typeof STATUS_VERSION;
  /** When this was put together. */
  readonly time: string;
  readonly agent: {
    readonly version: string;
    /** `Deno 2.4.2`. */
    readonly runtime: string;
    readonly pid: number;
    readonly hostname: string;
    readonly started: string;
    readonly uptimeSeconds: number;
    /** Resident memory of the process in bytes. */
    readonly residentBytes: number;
  };
  /** Why `/healthz` fails, one line each; empty when it does not. */
  readonly unhealthy: readonly string[];
  /** True when `/readyz` answers 200. */
  readonly ready: boolean;
  /** One entry for each network with an agent at work; without `-networks` one in all. */
  readonly networks: readonly NetworkReport[];
  /** Networks that are to be served and are not yet: they have not begun, or have ended with an error. */
  readonly waiting: readonly WaitingReport[];
}

/** One network of which nothing is known but its name. */
export interface WaitingReport {
  /** As `-networks` names it; empty without. */
  readonly name: string;
  /** The file that Docker and CNI will read. */
  readonly subnetFile: string;
  /** What it waits for; `null` while it begins. */
  readonly warning: WarningReport | null;
}

/** One network on this host. */
export interface NetworkReport {
  /** As `-networks` names it; empty without. */
  readonly name: string;
  /** `waiting` until a lease is published, `warning` while something is wrong, else `ready`. */
  readonly state: "waiting" | "ready" | "warning";
  /** What is wrong now. */
  readonly warnings: readonly WarningReport[];
  /** Range of the network; `null` while no config is known. */
  readonly network: string | null;
  /** The config's text as stored, without its secrets; `null` while there is none. */
  readonly config: string | null;
  readonly store: StoreReport;
  readonly host: {
    readonly publicIP: string;
    readonly interface: string;
    readonly address: string;
    /** Of the interface, in bytes. */
    readonly mtu: number;
  };
  /** `null` before the first lease. */
  readonly backend: BackendReport | null;
  /** `null` while there is none. */
  readonly lease: LeaseReport | null;
  /** The file that Docker and CNI read. */
  readonly subnetFile: string;
  readonly peers: {
    /** Whose packets are carried. */
    readonly count: number;
    /** Leases that are refused. */
    readonly refused: number;
    /** Those that {@linkcode NetworkReport.peers} leaves out: `/status?peers=N` says how many it lists. */
    readonly omitted: number;
    /** In the order of their subnets; refused ones are among them. */
    readonly list: readonly PeerReport[];
  };
  /** Between this host and its peers, in packets of the containers. */
  readonly traffic: TrafficReport | null;
  readonly repairs: {
    readonly total: number;
    /** By what was damaged: `route`, `device`, `firewall`, ... */
    readonly byKind: Readonly<Record<string, number>>;
    /** The latest ones, the newest first; at most 20. */
    readonly recent: readonly { readonly time: string; readonly what: string }[];
  };
}

/** Something that is wrong. */
export interface WarningReport {
  readonly since: string;
  readonly message: string;
}

/** The store as this host reaches it. */
export interface StoreReport {
  /** `etcd v2 at http://10.0.0.1:2379, prefix /flannel/network`. */
  readonly name: string;
  /** True while changes are followed. */
  readonly watching: boolean;
  /** When the last change came; `null` before the first. */
  readonly lastChange: string | null;
  /** Since when {@linkcode watching} is as it is. */
  readonly since: string;
  /** Calls since the start, and how many of them failed. */
  readonly calls: number;
  readonly errors: number;
}

/** The backend at work. */
export interface BackendReport {
  /** `vxlan`, `udp`, `host-gw`, `alloc`, ... */
  readonly type: string;
  /** `null` for a backend without one. */
  readonly device: string | null;
  /** For containers, in bytes. */
  readonly mtu: number;
  /** What the data path makes use of: `TCP segmentation, UDP GSO`; `null` where that does not vary. */
  readonly features: string | null;
  /**
   * The fate of packets from peers whose inner source lies outside the network; `null` where nothing
   * encapsulates packets.
   */
  readonly outsideSources: OutsideSourcesReport | null;
  /**
   * Where a cloud's router carries the packets: by route table, `active` or what is wrong. Absent with
   * other backends.
   */
  readonly routeTables?: Readonly<Record<string, string>>;
}

/** Whether inner sources outside the network are let in. */
export interface OutsideSourcesReport {
  /** In force now: refusing begins 5 s after all peers masquerade. */
  readonly refused: boolean;
  /** False where the firewall would have to refuse them and has no rules of flanneld. */
  readonly guarded: boolean;
  /** `all of 3 peers masquerade`; an option where that decides. */
  readonly reason: string;
}

/** This host's lease. */
export interface LeaseReport {
  readonly subnet: string;
  /** `null` for one that does not run out. */
  readonly expires: string | null;
  /** When it is to be renewed; `null` for one that does not run out. */
  readonly renewal: string | null;
  /** When it was written, or taken over, by this process. */
  readonly since: string;
}

/** Another host's lease. */
export interface PeerReport {
  readonly subnet: string;
  readonly publicIP: string;
  /** `BackendType` of the lease; `udp` where it has none. */
  readonly backend: string;
  /** Why packets do not go there; `null` when they do. */
  readonly refused: string | null;
  /** `kernel`, or `user` with the reason; `null` where the backend has one way only. */
  readonly path: string | null;
  /** Hostname and version of its agent; `null` for one that leaves no record (flannel's). */
  readonly hostname: string | null;
  readonly version: string | null;
  /** With its host; of one that has several leases each shows the same. `null` where nobody counts. */
  readonly traffic: TrafficCounts | null;
  /** `null` of a peer that is not probed, or not yet. */
  readonly roundTrip: RoundTripReport | null;
}

/** Echoes over the network to the first address of a peer's subnet, which its device holds. */
export interface RoundTripReport {
  /** Milliseconds; `null` when the last echo was not answered. */
  readonly lastMs: number | null;
  /** The least of those that were answered; `null` without any. */
  readonly bestMs: number | null;
  /** Echoes sent, and those not answered, since somebody began to ask. */
  readonly sent: number;
  readonly lost: number;
  /** Of the last echo. */
  readonly time: string;
}

/** Packets and bytes of the containers' packets, without encapsulation. */
export interface TrafficCounts {
  readonly sentPackets: number;
  readonly sentBytes: number;
  readonly receivedPackets: number;
  readonly receivedBytes: number;
}

/** Sums over all peers. */
export interface TrafficReport extends TrafficCounts {
  /** Packets dropped, by reason; only reasons that occurred. */
  readonly drops: Readonly<Record<string, number>>;
}
