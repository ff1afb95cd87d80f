/**
 * The agent's status: the JSON of `/status` and of `flanneld status -json`.
 *
 * Members keep their names and meaning within one {@linkcode STATUS_VERSION}; new ones may be added. Times are RFC
 * 3339 in UTC, addresses and prefixes are text, counters start with the data path.
 *
 * @module
 */

/** Version of the format; a change that breaks readers raises it. */
export const STATUS_VERSION = 1;

/** The whole answer. */
export interface AgentStatus {
  readonly statusVersion: typeof STATUS_VERSION;
  /** Time of the status. */
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
  /** Reasons for which `/healthz` fails, one line each. */
  readonly unhealthy: readonly string[];
  /** True when `/readyz` answers 200. */
  readonly ready: boolean;
  /** One entry for each network that an agent serves; without `-networks` one in all. */
  readonly networks: readonly NetworkReport[];
  /** Networks without an agent at this moment: not started yet, or ended with an error. */
  readonly waiting: readonly WaitingReport[];
}

/** A network without an agent. */
export interface WaitingReport {
  /** As `-networks` names it; empty without. */
  readonly name: string;
  /** The file that Docker and CNI will read. */
  readonly subnetFile: string;
  /** The missing condition; `null` while the network starts. */
  readonly warning: WarningReport | null;
}

/** A network on this host. */
export interface NetworkReport {
  /** As `-networks` names it; empty without. */
  readonly name: string;
  /** `warning` while there are warnings, else `waiting` until subnet.env is written, then `ready`. */
  readonly state: "waiting" | "ready" | "warning";
  /** Conditions that are wrong now. */
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
    /** Peers that packets are carried to. */
    readonly count: number;
    /** Leases that are refused. */
    readonly refused: number;
    /** Peers beyond the number that `/status?peers=N` lists. */
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

/** A condition that is wrong. */
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

/** The active backend. */
export interface BackendReport {
  /** `vxlan`, `udp`, `host-gw`, `alloc`, ... */
  readonly type: string;
  /** `null` for a backend without one. */
  readonly device: string | null;
  /** For containers, in bytes. */
  readonly mtu: number;
  /** Features that the data path uses: `TCP segmentation, UDP GSO`; `null` for a backend without variants. */
  readonly features: string | null;
  /**
   * The fate of packets from peers whose inner source lies outside the network; `null` where nothing
   * encapsulates packets.
   */
  readonly outsideSources: OutsideSourcesReport | null;
  /**
   * State of the route in each table of a cloud's router: `active`, or the problem. Absent with other backends.
   */
  readonly routeTables?: Readonly<Record<string, string>>;
}

/** Whether inner sources outside the network are refused. */
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
  /** `null` for a reservation. */
  readonly expires: string | null;
  /** Time of the next renewal; `null` for a reservation. */
  readonly renewal: string | null;
  /** When this process wrote it, or took it over. */
  readonly since: string;
}

/** Another host's lease. */
export interface PeerReport {
  readonly subnet: string;
  readonly publicIP: string;
  /** `BackendType` of the lease; `udp` without one. */
  readonly backend: string;
  /** Reason for which no packets are sent there; `null` when they are. */
  readonly refused: string | null;
  /** `kernel`, or `user` with the reason; `null` for a backend with one path. */
  readonly path: string | null;
  /** Hostname and version of its agent; `null` without a node record (upstream flannel). */
  readonly hostname: string | null;
  readonly version: string | null;
  /** With the peer's host, so the same for all its leases; `null` for a backend that does not count by peer. */
  readonly traffic: TrafficCounts | null;
  /** `null` for a peer without a probe. */
  readonly roundTrip: RoundTripReport | null;
}

/** Echo requests through the overlay to the first address of a peer's subnet, which its device holds. */
export interface RoundTripReport {
  /** Milliseconds; `null` when the last request got no reply. */
  readonly lastMs: number | null;
  /** Least round-trip time; `null` without a reply. */
  readonly bestMs: number | null;
  /** Requests sent, and requests without a reply, since probing began. */
  readonly sent: number;
  readonly lost: number;
  /** Time of the last request. */
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
