import { type IPv4, Prefix } from "../../../../mod/ip/mod.ts";
import type { MapShape } from "../../../../mod/sys/bpf/mod.ts";
import { formatMac, type Mac, parseMac } from "../../../../mod/sys/mod.ts";
import { ETH_P_IP } from "../../../../mod/sys/linux_constants.ts";

/**
 * The maps of the kernel path, by the names that programs and pins know them by. Addresses in them are
 * in network order, all else in host order.
 */
export const MAPS = {
  /** Which host holds which subnet: {@linkcode routeKey} to {@linkcode routeValue}. */
  routes: {
    type: "BPF_MAP_TYPE_LPM_TRIE",
    keySize: 8,
    valueSize: 8,
    maxEntries: 1 << 20,
  },
  /**
   * Hosts that have a lease, by public IP, with their traffic in {@linkcode Traffic}. The processors share
   * an entry and add atomically, some nanoseconds for a super-packet: entries for each of them would
   * have the kernel's per-CPU allocator take 19 us a peer, 1.2 s for 65,536, where these take 2.
   */
  peers: {
    type: "BPF_MAP_TYPE_HASH",
    keySize: 4,
    valueSize: 32,
    maxEntries: 1 << 20,
    sparse: true,
  },
  /**
   * The path by the {@linkcode GroHop}, by {@linkcode HopEntry}: {@linkcode hopValue}, or zeros where there is
   * none.
   */
  hop: {
    type: "BPF_MAP_TYPE_ARRAY",
    keySize: 4,
    valueSize: 24,
    maxEntries: 3,
  },
  /** Packets by {@linkcode Passage}. */
  passages: {
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

/** Why packets are dropped, by their index: the names of the user-space path's counters. */
export const REASONS = [
  /** The kernel refused to make room for, or to write, the outer header. */
  "dropSendRefused",
  "dropReceiveUnknownSender",
  "dropReceiveForeign",
  "dropReceiveSpoofed",
  /** The kernel refused to take the outer header off. */
  "dropReceiveRefused",
] as const;

/** Why a packet was dropped. */
export type Reason = typeof REASONS[number];

/** A subnet and who holds it. */
export interface KernelRoute {
  readonly subnet: Prefix;
  readonly publicIP: IPv4;
  /** Packets to and from there are carried here; otherwise they are passed to user space. */
  readonly carried: boolean;
}

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

/** The public IP, then 1 for what is carried here and 0 for the rest. */
export function routeValue({ publicIP, carried }: KernelRoute): Uint8Array {
  const bytes = new Uint8Array(8);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, publicIP, false);
  view.setUint32(4, carried ? 1 : 0, true);
  return bytes;
}

/** Reads {@linkcode routeValue}. */
export function readRouteValue(value: DataView): Pick<KernelRoute, "publicIP" | "carried"> {
  return { publicIP: value.getUint32(0, false), carried: value.getUint32(4, true) !== 0 };
}

/** A peer's key: its address. */
export function peerKey(publicIP: IPv4): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, publicIP, false);
  return bytes;
}

/** Reads {@linkcode peerKey}. */
export function readPeerKey(key: Uint8Array): IPv4 {
  return new DataView(key.buffer, key.byteOffset).getUint32(0, false);
}

/** Offsets in the value of the hop. */
export const Hop = {
  /** VXLAN header and Ethernet header: the very bytes that go between UDP header and inner packet. */
  Headers: 0,
  Vni: 4,
  Destination: 8,
  /** The source address: a secret of programs and agent. */
  Secret: 14,
  EtherType: 20,
  /** UDP port of the device, in network order; 0 where there is no hop. */
  Port: 22,
} as const;

/**
 * Where packets pass that go by the hop, by their index. Between `dressed` and `arrived` segments are joined.
 * `probed` are probes that came out.
 */
export const Passage = { dressed: 0, arrived: 1, probed: 2 } as const;

/** VXLAN header (RFC 7348) and Ethernet header, in bytes. */
export const HOP_HEADERS = 22;

/**
 * Indices of the hop map. Probes have a secret of their own, so that no program confuses them with packets.
 * `Former` is the value of `Packets` before the secret was replaced, for packets between the two programs at
 * that moment.
 */
export const HopEntry = { Packets: 0, Probes: 1, Former: 2 } as const;

/** Key of {@linkcode HopEntry}`.Packets`. */
export const HOP_KEY = new Uint8Array([HopEntry.Packets, 0, 0, 0]);
/** Key of {@linkcode HopEntry}`.Probes`. */
export const PROBE_KEY = new Uint8Array([HopEntry.Probes, 0, 0, 0]);
/** Key of {@linkcode HopEntry}`.Former`. */
export const FORMER_KEY = new Uint8Array([HopEntry.Former, 0, 0, 0]);

/** How packets are made to come in by a vxlan device. */
export interface HopAddress {
  readonly vni: number;
  /** Of the device. */
  readonly mac: Mac;
  /** What the device's program knows our packets by. */
  readonly secret: Mac;
  readonly port: number;
}

/** Writes what goes before the inner packet, and the port. */
export function hopValue({ vni, mac, secret, port }: HopAddress): Uint8Array {
  const bytes = new Uint8Array(MAPS.hop.valueSize);
  const view = new DataView(bytes.buffer);
  // Flag I: the VNI is valid.
  bytes[Hop.Headers] = 0x08;
  view.setUint32(Hop.Vni, vni << 8, false);
  parseMac(mac, bytes, Hop.Destination);
  parseMac(secret, bytes, Hop.Secret);
  view.setUint16(Hop.EtherType, ETH_P_IP, false);
  view.setUint16(Hop.Port, port, false);
  return bytes;
}

/** The secret in a value that somebody wrote before; `undefined` when there is none. */
export function readHopSecret(value: DataView): Mac | undefined {
  return value.getUint16(Hop.Port, false) === 0 ? undefined : formatMac(value, Hop.Secret);
}

/** What is written into the programs as constants. */
export interface PathSettings {
  /** Index of flannel0. */
  readonly device: number;
  /** Index of the external interface, an Ethernet one. */
  readonly underlay: number;
  /** Its MTU in bytes. */
  readonly mtu: number;
  /** Its address: source of what is sent, destination of what is received. */
  readonly address: IPv4;
  /** UDP port, ours and every peer's. */
  readonly port: number;
  /** Our lease: what packets from peers may be addressed to. */
  readonly own: Prefix;
  /** All leases lie in it. */
  readonly network: Prefix;
  /** Leave it to user space what to do with datagrams from any address. */
  readonly acceptAny: boolean;
  /** Refuse inner sources outside the network. */
  readonly strictSource: boolean;
}

/** IPv4 and UDP header around each packet, in bytes. */
export const OVERHEAD = 28;

/** Two bytes in network order as a number that loads and stores of the program take. */
export function raw16(value: number): number {
  return ((value & 0xff) << 8) | ((value >>> 8) & 0xff);
}

/** Four bytes in network order likewise. */
export function raw32(value: number): number {
  return ((raw16(value & 0xffff) << 16) | raw16(value >>> 16)) >>> 0;
}
