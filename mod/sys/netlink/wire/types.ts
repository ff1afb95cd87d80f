import type { IPv4, Prefix } from "../../../ip/mod.ts";

/** A 48-bit hardware address: lower-case hex octets with colons, `c6:8a:3d:5f:56:2e`. */
export type Mac = string;

/** A network interface, as RTM_NEWLINK reports it. */
export interface Link {
  readonly index: number;
  readonly name: string;
  /** IFF_* of linux/if.h. */
  readonly flags: number;
  /** Bytes. */
  readonly mtu: number;
  /** Absent on devices without one (TUN). */
  readonly mac?: Mac;
  /** IFLA_INFO_KIND: `vxlan`, `veth`, `bridge`, `tun`; absent on physical devices. */
  readonly kind?: string;
  /** IFLA_MASTER: index of the bridge (or bond) that it is a port of. */
  readonly master?: number;
  /** IFLA_LINK of a veth: index of its other end, in whatever network namespace that is. */
  readonly peer?: number;
  /** IFLA_IFALIAS: a description; absent on links without. */
  readonly alias?: string;
  /** IFLA_INFO_DATA, which the {@linkcode LinkKind} of `kind` decodes; absent on links without. */
  readonly data?: Uint8Array;
}

/** Traffic of a link since it was created. Bytes of Ethernet devices count the Ethernet header. */
export interface LinkStatistics {
  readonly receivedPackets: number;
  readonly sentPackets: number;
  readonly receivedBytes: number;
  readonly sentBytes: number;
  readonly receiveErrors: number;
  readonly sendErrors: number;
  readonly receiveDrops: number;
  readonly sendDrops: number;
}

/** An IPv4 address of an interface. */
export interface InterfaceAddress {
  /** Of the interface. */
  readonly index: number;
  readonly address: IPv4;
  readonly prefixLength: number;
  /** RT_SCOPE_*: 0 universe, 253 link, 254 host. */
  readonly scope: number;
  /** IFA_F_* of linux/if_addr.h; 0x80 permanent, 0x20 deprecated, 0x01 secondary. */
  readonly flags: number;
}

/** An IPv4 unicast route. */
export interface Route {
  readonly destination: Prefix;
  readonly gateway?: IPv4;
  /** Index of the output interface. */
  readonly oif: number;
  /** RTNH_F_ONLINK: the gateway counts as reachable though no route leads to it. */
  readonly onlink: boolean;
  /** RTPROT_*: who installed it. */
  readonly protocol: number;
  /** RT_SCOPE_*. */
  readonly scope: number;
  /** RT_TABLE_*; 254 is main. */
  readonly table: number;
  /** Preferred source. */
  readonly source?: IPv4;
  /**
   * RTA_PRIORITY; 0 when absent.
   *
   * Many routes that differ in nothing but destination and gateway should not share one metric. The
   * kernel keeps a record (fib_info) per distinct gateway and finds it by a hash of protocol, scope,
   * source, metric and interface, *not* of the gateway: all such records of one device lie in one
   * chain that every addition walks. Measured on Linux 6.18: 5,000 onlink routes of one metric are added
   * in 125 ms, 60,000 in 41 s; with a metric of their own for each 256 of them in 15 ms and 200 ms. (Nexthop
   * objects, Linux 5.3, add 60,000 in 165 ms, but deleting the device then takes 23 s.)
   */
  readonly metric: number;
}

/** An IPv4 neighbour (ARP) entry. */
export interface Neighbour {
  /** Of the interface. */
  readonly index: number;
  readonly address: IPv4;
  readonly mac: Mac;
  /** NUD_* of linux/neighbour.h; 0x80 permanent. */
  readonly state: number;
}

/** An entry of a vxlan device's forwarding database (family AF_BRIDGE, NTF_SELF). */
export interface FdbEntry {
  /** Of the interface. */
  readonly index: number;
  readonly mac: Mac;
  /** Remote VTEP's underlay address; absent on entries that are not vxlan's. */
  readonly destination?: IPv4;
  /** NUD_*; 0x80 permanent. */
  readonly state: number;
}

/** One change to the kernel's tables. `replace` creates or overwrites, `add` must not exist. */
export type Operation =
  | { readonly op: "add" | "replace" | "delete"; readonly kind: "route"; readonly object: Route }
  | {
    readonly op: "add" | "replace" | "delete";
    readonly kind: "neighbour";
    readonly object: Neighbour;
  }
  | { readonly op: "add" | "replace" | "delete"; readonly kind: "fdb"; readonly object: FdbEntry }
  | {
    readonly op: "add" | "replace" | "delete";
    readonly kind: "address";
    readonly object: InterfaceAddress;
  };

/** An event of the multicast monitor. */
export type KernelEvent = KernelChange & {
  /**
   * Port of the socket that asked for the change (`nlmsg_pid`); absent where the kernel changed it by itself, and of FDB
   * entries.
   */
  readonly sender?: number;
};

type KernelChange =
  | { readonly type: "link" | "link-removed"; readonly link: Link }
  | { readonly type: "address" | "address-removed"; readonly address: InterfaceAddress }
  /** An interface got an IPv6 address, as each does when IPv6 is turned on. */
  | { readonly type: "ipv6-address"; readonly index: number }
  /** Of routes that lead nowhere too (blackhole, unreachable, prohibit), with interface 0. */
  | { readonly type: "route" | "route-removed"; readonly route: Route }
  | { readonly type: "neighbour"; readonly neighbour: Neighbour }
  /** Gone, or without a MAC (failed, being resolved): the kernel no longer reports which MAC it was. */
  | {
    readonly type: "neighbour-removed";
    readonly neighbour: Pick<Neighbour, "index" | "address">;
  }
  /** The kernel asks user space for the MAC (an L3 miss), where `app_solicit` of the device is set. */
  | {
    readonly type: "neighbour-miss";
    readonly neighbour: Pick<Neighbour, "index" | "address">;
  }
  | { readonly type: "fdb" | "fdb-removed"; readonly entry: FdbEntry }
  /** The socket overran (ENOBUFS): events were lost, dump again. */
  | { readonly type: "overrun" };
