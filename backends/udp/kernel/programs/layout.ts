import { type IPv4, Prefix } from "../../../../mod/ip/mod.ts";
import type { MapShape } from "../../../../mod/sys/bpf/mod.ts";
import { formatMac, type Mac, parseMac } from "../../../../mod/sys/mod.ts";
import { ETH_P_IP } from "../../../../mod/sys/linux_constants.ts";

/**
 * The maps of the kernel path, by the names in programs and pins. Addresses in them are in network order, all
 * other numbers in host order.
 */
export const MAPS = {
  /** Holder of each subnet: {@linkcode routeKey} to {@linkcode routeValue}. */
  routes: {
    type: "BPF_MAP_TYPE_LPM_TRIE",
    keySize: 8,
    valueSize: 8,
    maxEntries: 1 << 20,
  },
  /**
   * Traffic ({@linkcode Traffic}) of hosts that have a lease, by public IP. Processors share an entry and add
   * atomically, which costs some nanoseconds a GSO packet. The kernel's per-CPU allocator would take 19 us a peer,
   * 1.2 s for 65,536 peers, instead of 2 us.
   */
  peers: {
    type: "BPF_MAP_TYPE_HASH",
    keySize: 4,
    valueSize: 32,
    maxEntries: 1 << 20,
    sparse: true,
  },
  /** Addresses of the GRO device by {@linkcode GroEntry}: {@linkcode groValue}, or zeros for a closed path. */
  gro: {
    type: "BPF_MAP_TYPE_ARRAY",
    keySize: 4,
    valueSize: 24,
    maxEntries: 3,
  },
  /** Packets by {@linkcode GroCount}. */
  groCounts: {
    type: "BPF_MAP_TYPE_PERCPU_ARRAY",
    keySize: 4,
    valueSize: 8,
    maxEntries: 3,
  },
  /** Drops by {@linkcode REASONS}. */
  reasons: {
    type: "BPF_MAP_TYPE_PERCPU_ARRAY",
    keySize: 4,
    valueSize: 8,
    maxEntries: 16,
  },
} as const satisfies Record<string, MapShape>;

/** Name of a map. */
export type MapName = keyof typeof MAPS;

/** Offsets in a peer's value, u64 each; bytes are those of inner packets. */
export const Traffic = { sentPackets: 0, sentBytes: 8, receivedPackets: 16, receivedBytes: 24 };

/** Reasons for drops, in the order of the map. The user-space path has counters of the same names. */
export const REASONS = [
  /** The kernel refused to add or to write the outer header. */
  "dropSendRefused",
  "dropReceiveUnknownSender",
  "dropReceiveForeign",
  "dropReceiveSpoofed",
  /** The kernel refused to remove the outer header. */
  "dropReceiveRefused",
] as const;

/** Reason for a drop. */
export type Reason = typeof REASONS[number];

/** A subnet and its holder. */
export interface KernelRoute {
  readonly subnet: Prefix;
  readonly publicIP: IPv4;
  /** The kernel carries packets to and from the subnet; otherwise user space does. */
  readonly carried: boolean;
  /**
   * The kernel decapsulates what the holder's kernel has sent, although user space carries packets to it: the holder
   * may know of this host's kernel path before this host knows of the holder's. @default carried
   */
  readonly accepted?: boolean;
}

/** Second number of {@linkcode routeValue}. */
export const RoutePath = { User: 0, Kernel: 1, AcceptedOnly: 2 } as const;

/** `struct bpf_lpm_trie_key`: u32 prefix length, then the address. */
export function routeKey({ address, length }: Prefix): Uint8Array {
  const bytes = new Uint8Array(8);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, length, true);
  view.setUint32(4, address, false);
  return bytes;
}

/** Reads {@linkcode routeKey}. */
export function readRouteKey(key: Uint8Array): Prefix {
  const view = new DataView(key.buffer, key.byteOffset);
  return new Prefix(view.getUint32(4, false), view.getUint32(0, true));
}

/** The public IP, then a {@linkcode RoutePath}. */
export function routeValue({ publicIP, carried, accepted }: KernelRoute): Uint8Array {
  const bytes = new Uint8Array(8);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, publicIP, false);
  const path = carried ? RoutePath.Kernel : accepted ? RoutePath.AcceptedOnly : RoutePath.User;
  view.setUint32(4, path, true);
  return bytes;
}

/** Reads {@linkcode routeValue}. */
export function readRouteValue(value: DataView): Required<Omit<KernelRoute, "subnet">> {
  const path = value.getUint32(4, true);
  return {
    publicIP: value.getUint32(0, false),
    carried: path === RoutePath.Kernel,
    accepted: path !== RoutePath.User,
  };
}

/** A peer's key: its public IP. */
export function peerKey(publicIP: IPv4): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, publicIP, false);
  return bytes;
}

/** Reads {@linkcode peerKey}. */
export function readPeerKey(key: Uint8Array): IPv4 {
  return new DataView(key.buffer, key.byteOffset).getUint32(0, false);
}

/** Offsets in a value of the map `gro`, in bytes. */
export const GroValue = {
  /** VXLAN header and Ethernet header, as they are between UDP header and inner packet. */
  Headers: 0,
  Vni: 4,
  Destination: 8,
  /** Source address of the Ethernet header: a secret that only programs and agent know. */
  Secret: 14,
  EtherType: 20,
  /** UDP port of the GRO device, in network order; 0 while the path is closed. */
  Port: 22,
} as const;

/**
 * Indices of the map `groCounts`: packets sent to the GRO device, packets received from it after GRO, and probes
 * received from it.
 */
export const GroCount = { groSent: 0, groReceived: 1, probesReceived: 2 } as const;

/** VXLAN header (RFC 7348) and Ethernet header, in bytes. */
export const GRO_HEADERS = 22;

/**
 * Indices of the map `gro`. Probes have a secret of their own, so that programs distinguish them from packets.
 * `Former` is the value of `Packets` before the secret was replaced, for packets that were between the two programs then.
 */
export const GroEntry = { Packets: 0, Probes: 1, Former: 2 } as const;

/** Key of {@linkcode GroEntry}`.Packets`. */
export const PACKETS_KEY = new Uint8Array([GroEntry.Packets, 0, 0, 0]);
/** Key of {@linkcode GroEntry}`.Probes`. */
export const PROBES_KEY = new Uint8Array([GroEntry.Probes, 0, 0, 0]);
/** Key of {@linkcode GroEntry}`.Former`. */
export const FORMER_KEY = new Uint8Array([GroEntry.Former, 0, 0, 0]);

/** Destination of packets on the GRO path. */
export interface GroAddress {
  readonly vni: number;
  /** MAC address of the GRO device. */
  readonly mac: Mac;
  /** Source MAC address that the GRO device's program requires. */
  readonly secret: Mac;
  readonly port: number;
}

/** Encodes the headers before the inner packet, and the port. */
export function groValue({ vni, mac, secret, port }: GroAddress): Uint8Array {
  const bytes = new Uint8Array(MAPS.gro.valueSize);
  const view = new DataView(bytes.buffer);
  // Flag I: the VNI is valid.
  bytes[GroValue.Headers] = 0x08;
  view.setUint32(GroValue.Vni, vni << 8, false);
  parseMac(mac, bytes, GroValue.Destination);
  parseMac(secret, bytes, GroValue.Secret);
  view.setUint16(GroValue.EtherType, ETH_P_IP, false);
  view.setUint16(GroValue.Port, port, false);
  return bytes;
}

/** Reads the secret of a value; `undefined` while the path is closed. */
export function readGroSecret(value: DataView): Mac | undefined {
  return value.getUint16(GroValue.Port, false) === 0
    ? undefined
    : formatMac(value, GroValue.Secret);
}

/** Constants of the programs. */
export interface PathSettings {
  /** Index of the TUN device. */
  readonly device: number;
  /** Index of the external interface, an Ethernet one. */
  readonly underlay: number;
  /** Its MTU in bytes. */
  readonly mtu: number;
  /** Its address: source of what is sent, destination of what is received. */
  readonly address: IPv4;
  /** UDP port of this host and of every peer. */
  readonly port: number;
  /** This host's lease: packets from peers must be addressed to it. */
  readonly own: Prefix;
  /** All leases lie in it. */
  readonly network: Prefix;
  /** Pass datagrams of unknown senders, or with spoofed sources, to user space instead of dropping them. */
  readonly acceptAny: boolean;
  /** Drop inner sources outside the network. */
  readonly strictSource: boolean;
}

/** IPv4 and UDP header around each packet, in bytes. */
export const OVERHEAD = 28;

/** Converts a 16-bit value to the number that a program's load finds where it lies in network order. */
export function raw16(value: number): number {
  return ((value & 0xff) << 8) | ((value >>> 8) & 0xff);
}

/** Converts a 32-bit value likewise. */
export function raw32(value: number): number {
  return ((raw16(value & 0xffff) << 16) | raw16(value >>> 16)) >>> 0;
}
