import type { GoObject, NetworkConfig } from "../mod/config/mod.ts";
import type { ExternalInterface } from "../mod/host/mod.ts";
import type { IPv4, Prefix } from "../mod/ip/mod.ts";
import type { JsonValue, Lease, LeaseForm } from "../mod/lease/mod.ts";
import type { LeaseSet, LeaseSetChange } from "../mod/subnet/mod.ts";
import type { DryRunNetlink, Link, Netlink, Route } from "../mod/sys/mod.ts";
import type { DiffLine } from "./describe.ts";
import type { Step } from "./steps.ts";

/** The network that a backend serves and the host that it runs on. */
export interface BackendContext {
  readonly config: NetworkConfig;
  /** Where encapsulated packets leave and arrive. */
  readonly external: ExternalInterface;
  readonly netlink: Netlink;
  /** Path of the network namespace that `netlink` works in. @default this process's */
  readonly netns?: string;
  /**
   * Networks served before on this host, and by no other agent now: the agent removes their objects.
   * A getter: another agent of the host may begin to serve one at any time.
   */
  readonly formerNetworks: readonly Prefix[];
  /**
   * Other networks are, or may be, served on this host: an unused device may belong to a stopped agent.
   * @default false
   */
  readonly besideOthers?: boolean;
  /**
   * `BackendData` of the lease that this host is known to have held: a device that has to be created again
   * takes its identity (vxlan: the VTEP's MAC) from there, so that peers need not learn another.
   */
  readonly formerData?: JsonValue | undefined;
  /**
   * Returns the features of a host's data path that not every host has, as its node record has them now; none for
   * hosts of upstream flannel. @default nothing for all
   */
  readonly featuresOf?: (publicIP: IPv4) => readonly string[];
  /**
   * Set when nothing may be changed: `netlink` then records changes and makes none, and a backend leaves out changes by
   * other means (ioctl, bpf, a socket, a thread). Of the network only
   * {@linkcode PlannedNetwork} is used.
   */
  readonly dryRun?: DryRun;
  /** Aborts calls outside this host when the agent ends. @default never */
  readonly signal?: AbortSignal;
  /**
   * Returns whether packets from peers whose inner source lies outside the network are refused at this moment.
   *
   * @default never
   */
  readonly isSourceStrict?: () => boolean;
  /** Options of the udp backend for this host, beside the network's config. */
  readonly udp?: UdpHostOptions;
  /** Likewise of the vxlan backend. */
  readonly vxlan?: VxlanHostOptions;
}

/** Options of the vxlan backend that are this host's own: `-vxlan-*`. */
export interface VxlanHostOptions {
  /**
   * Transmit checksum offload of the device: `off` where the kernel may compute wrong checksums,
   * which `auto` finds by the kernel's version. @default "auto"
   */
  readonly txChecksum?: "auto" | "on" | "off";
  /** Refuse inner sources outside the network. @default by what the peers advertise */
  readonly strictSource?: boolean | undefined;
}

/** Records changes that are not made through netlink. */
export type DryRun = Pick<DryRunNetlink, "makeLink">;

/** Options of the udp backend that are this host's own: `-udp-*`. */
export interface UdpHostOptions {
  /** Take datagrams from any address, with any inner source. @default false */
  readonly acceptAny?: boolean;
  /** Refuse inner sources outside the network. @default by what the peers advertise */
  readonly strictSource?: boolean | undefined;
  /** Workers, each with a queue of the device and a socket of its own. @default 1 */
  readonly workers?: number;
  /**
   * Where packets are carried: `kernel` by eBPF programs with user space behind them, `user` in user
   * space alone, `auto` by what the kernel allows. @default "user"
   */
  readonly datapath?: "auto" | "kernel" | "user";
}

/** One way of carrying packets between hosts. */
export interface Backend {
  /** Value of `Backend.Type`, lower case. */
  readonly type: string;
  /** `BackendType` of the leases of its hosts. @default none */
  readonly leaseType?: string;
  /** True for one that changes devices or routes of the host, which takes CAP_NET_ADMIN. */
  readonly changesKernel: boolean;
  /** False for one that leaves packets to something else. @default true */
  readonly carriesPackets?: boolean;
  /** The page that explains its failures: `docs/backends/aws.md`. */
  readonly document?: string;
  /**
   * Reads the backend's options and makes its device ready. No lease is needed yet, since a lease
   * may have to carry what only the device knows (a VTEP's MAC).
   *
   * @throws {ConfigError} for a bad option
   * @throws {SysError} when the kernel refuses the device
   */
  prepare(context: BackendContext): Promise<Network>;

  /**
   * Returns the kernel's single objects that the network needs, in words that are the same in every network: a host
   * cannot serve two networks that need the same one.
   *
   * @throws {ConfigError} for a bad option
   */
  resources?(context: Pick<BackendContext, "config" | "external">): readonly string[];

  /**
   * Reads the backend's options as {@linkcode prepare} does on a host whose interface has this MTU,
   * and does nothing else: how a config is checked before anybody uses it.
   *
   * @param interfaceMtu in bytes
   * @returns MTU for containers, in bytes
   * @throws {ConfigError} for a bad option
   */
  mtuFor?(options: GoObject, interfaceMtu: number): number;

  /**
   * Reads a network off its config and this host, for `doctor`, `explain` and `cleanup`. Changes nothing.
   *
   * @throws {ConfigError} for a bad option
   */
  inspect(context: BackendContext): Inspection;

  /**
   * Returns the number of a device that this backend creates, among those of one host; 0 where a host with one
   * network has it. `undefined` for another link.
   */
  deviceNumber?(link: Link): number | undefined;

  /**
   * Finds what agents left in the kernel besides devices and routes.
   *
   * @param isInUse returns whether a network uses the device of this name
   */
  staleState?(netlink: Netlink, isInUse: (device: string) => boolean): readonly StaleState[];

  /**
   * As {@linkcode prepare} for a context with `dryRun`, where that needs another network. Without it
   * `prepare` works through `netlink` alone.
   */
  plan?(context: BackendContext & { readonly dryRun: DryRun }): Promise<PlannedNetwork>;

  /**
   * Finds the objects outside of this host that belong to the lease which `cleanup -release` removes.
   *
   * @throws {ProviderError} when the provider cannot be read
   */
  release?(context: ReleaseContext): Promise<readonly Releasable[]>;

  /**
   * Checks what the backend needs outside of this host, for `doctor`. Changes nothing; failures are findings,
   * too.
   *
   * @param own this host's subnet, where it has one
   */
  check?(context: BackendContext, own: Prefix | undefined): Promise<readonly BackendFinding[]>;
}

/** The packets between hosts that carry a network's. */
export interface Encapsulation {
  /** IPPROTO_* of netinet/in.h: 17 for UDP. */
  readonly protocol: number;
  /** UDP port at each host; absent for another protocol. */
  readonly port?: number;
  /** Bytes between the outer IP or UDP header and the network's packet. */
  readonly headers: number;
}

/** How packets travel between hosts. */
export interface Tunnel extends Partial<Encapsulation> {
  /** Name of the network's own device; absent where packets leave by the hosts' own interface. */
  readonly device?: string;
  /** For containers, in bytes. */
  readonly mtu: number;
}

/** A network on this host, whether or not an agent serves it. */
export interface Inspection {
  /** The device is the one that carries the network, or the one that an agent would take. */
  readonly tunnel: Tunnel;
  /** Returns why packets to a lease are not carried; `undefined` when they are. @param own this host's lease */
  refusal(lease: Lease, own: Lease): string | undefined;
  /**
   * Returns the objects on a packet's way, as they are and as they should be, in the order in which it meets them.
   *
   * @param lease a peer's, which was not refused
   * @param address in its subnet
   */
  describe(lease: Lease, own: Lease, address: IPv4): readonly Step[];
  /** See {@linkcode Network.foreignLeaseReason}. */
  foreignLeaseReason?(lease: Lease): string | undefined;
  /** Returns whether the firewall does not see the tunnel's packets to an address. @default never */
  bypassesFirewall?(address: IPv4): boolean;
}

/** Something that an agent left in the kernel. */
export interface StaleState {
  /** A device goes with all that is on it, programs with the device that they served. */
  readonly kind: "device" | "programs" | "route";
  /** In the words of ip(8): `device flannel.1`. */
  readonly what: string;
  /** The device, of kind `device`. */
  readonly link?: Link;
  /** The route, of kind `route`. */
  readonly route?: Route;
  /**
   * Removes it; gone already is fine.
   *
   * @throws {SysError} when the kernel refuses
   */
  remove(): void;
}

/** Input of {@linkcode Backend.release}. */
export interface ReleaseContext
  extends Pick<BackendContext, "config" | "external" | "formerNetworks"> {
  readonly signal: AbortSignal;
}

/** An object outside of this host that belongs to this host. */
export interface Releasable {
  /** `route 10.20.93.0/24 in rtb-0a1b2c to eni-0a1b2c` */
  readonly what: string;
  /**
   * Removes it; gone already is fine.
   *
   * @throws {ProviderError} when the provider refuses
   */
  remove(): Promise<void>;
}

/** One finding of {@linkcode Backend.check}. */
export interface BackendFinding {
  /** `warning`: the agent would change it; `failed`: an operator has to. */
  readonly state: "ok" | "warning" | "failed";
  readonly text: string;
}

/** Where peers' packets enter a host, as the firewall sees them. */
export interface Ingress {
  /** Name of the overlay device that decapsulated packets come out of. */
  readonly device?: string;
  /** Name of the interface that peers' packets arrive on without encapsulation. */
  readonly underlay?: string;
  /**
   * UDP port that this host's firewall has to let in; absent without a tunnel, and where eBPF takes the
   * tunnel's datagrams before the firewall sees them.
   */
  readonly port?: number;
}

/** How a network with a tunnel can refuse inner sources outside of it. */
export interface SourceCheck {
  /** UDP port of every host's tunnel; absent for a tunnel of another IP protocol. */
  readonly port?: number;
  /** The flag that decides, whatever the peers advertise, and its value. */
  readonly fixed?: { readonly isStrict: boolean; readonly reason: string } | undefined;
  /** The checker of each packet: the backend, or the firewall at the overlay device. */
  readonly by: "backend" | "firewall";
}

/** The verdict of `-<type>-strict-source`, where it is given. */
export function fixedBy(flag: string, isStrict: boolean | undefined): SourceCheck["fixed"] {
  return isStrict === undefined ? undefined : { isStrict, reason: `${flag}=${isStrict}` };
}

/** A backend at work for one network. The kernel state it makes outlives it. */
export interface Network {
  /** For containers, in bytes: what fits into the external interface after encapsulation. */
  readonly mtu: number;
  /** Where peers' packets enter this host; empty where the backend does not carry them. */
  readonly ingress: Ingress;
  /** How inner sources are checked; absent where nothing encapsulates packets. */
  readonly sourceCheck?: SourceCheck | undefined;
  /** Returns `BackendData` of this host's lease in the given form; `undefined` when the backend has none. */
  leaseData(form: LeaseForm): JsonValue | undefined;

  /**
   * Returns why a lease with this host's public IP may be another host's, where no node record names its writer;
   * `undefined` when nothing suggests so.
   */
  foreignLeaseReason?(lease: Lease): string | undefined;

  /**
   * Brings everything in the kernel to what `own` and `peers` ask for: dump, diff, one batch. Used
   * at start, after a resync, when this host's lease changed, and to repair drift.
   * Cost: one dump of each table plus O(differences).
   *
   * @returns how many objects the kernel refused (each was logged); worth another try later
   */
  sync(own: Lease, peers: LeaseSet): Promise<number>;

  /**
   * Carries one change of the peers to the kernel. Cost: O(changes).
   *
   * @returns how many objects the kernel refused
   */
  apply(change: LeaseSetChange): Promise<number>;

  /**
   * Returns the features of this host's data path that not every host has, for the node record, where
   * other hosts' {@linkcode BackendContext.featuresOf} reads it. It may change with any call.
   */
  features?(): readonly string[];

  /**
   * Takes in that {@linkcode BackendContext.featuresOf} answers otherwise for these hosts. Cost:
   * O(their leases).
   *
   * @returns how many objects the kernel refused
   */
  featuresChanged?(publicIPs: ReadonlySet<IPv4>): Promise<number>;

  /**
   * Takes in that {@linkcode BackendContext.isSourceStrict} answers otherwise. Cost: as {@linkcode Network.sync}
   * of a kernel that has everything.
   *
   * @returns how many objects the kernel refused
   */
  sourceStrictnessChanged?(): Promise<number>;

  /** After a dry run's {@linkcode Network.sync}: what would change outside of this host. */
  planned?(): readonly DiffLine[];

  /** Likewise of this host's kernel, what is not changed through netlink. */
  plannedPrograms?(): readonly DiffLine[];

  /** Likewise what is in the way of packets there, and not the backend's to change. */
  obstacles?(): readonly string[];

  /** Returns the state of the backend, for logs and status. */
  status(): NetworkStatus;

  /**
   * Watches for what others do to the kernel state and calls `repair` (which ends in
   * {@linkcode Network.sync}) when an object of the network was changed. Ends when `signal` aborts.
   */
  run(signal: AbortSignal, repair: (what: string) => void): Promise<void>;

  /**
   * Removes all objects of the network: another backend or device carries it now.
   *
   * @param successor what carries it; of route tables that both serve the routes are the successor's
   */
  remove(successor?: NetworkStatus): Promise<void>;

  /** Ends what runs in this process; what is in the kernel stays. Calling it again does nothing. */
  close(): Promise<void>;
}

/** The part of a network that a dry run uses. */
export type PlannedNetwork = Pick<
  Network,
  | "mtu"
  | "ingress"
  | "sourceCheck"
  | "leaseData"
  | "sync"
  | "close"
  | "planned"
  | "plannedPrograms"
  | "obstacles"
>;

/** Counts for logs and status. */
export interface NetworkStatus {
  /** `flannel.1`; absent without a device. */
  readonly device?: string;
  /** Peers whose objects are programmed. */
  readonly peers: number;
  /** Offloads of the data path, where they vary: `TCP segmentation, UDP GSO`. */
  readonly features?: string;
  /**
   * How packets go to each peer's subnet, where a backend has more ways than one: `kernel`, or `user`
   * with the reason.
   */
  readonly paths?: ReadonlyMap<string, string>;
  /** Subnets that were refused, with the reason. */
  readonly refused: ReadonlyMap<string, string>;
  /** State of the route to this host in each of a provider's tables, where its router carries the packets. */
  readonly routeTables?: ReadonlyMap<string, string>;
  /** Why the provider's tables could not be read. */
  readonly failure?: string;
  /** Why no packets are carried at all at this moment. */
  readonly stopped?: string;
  /** Reads what was carried; absent where nobody counts. It costs O(peers): for whoever asks. */
  readonly traffic?: () => NetworkTraffic;
}

/** Packets and bytes, without encapsulation, since the data path began to count. */
export interface TrafficCounts {
  readonly sentPackets: number;
  readonly sentBytes: number;
  readonly receivedPackets: number;
  readonly receivedBytes: number;
}

/** Traffic of a data path. */
export interface NetworkTraffic {
  /** With all peers. */
  readonly total: TrafficCounts;
  /** By reason; none that did not occur. */
  readonly drops: Readonly<Record<string, number>>;
  /** By the peer's public IP; absent where the data path does not count by peer. */
  readonly peers?: ReadonlyMap<IPv4, TrafficCounts>;
}
