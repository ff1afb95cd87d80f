import { onesComplementSum } from "../../ip/checksum.ts";
import type { IPv4 } from "../../ip/mod.ts";
import type { PayloadMatch } from "../../sys/mod.ts";
import {
  ETH_HLEN,
  ETH_P_IP,
  IPPROTO_ICMP,
  IPPROTO_TCP,
  IPPROTO_UDP,
} from "../../sys/linux_constants.ts";

/** Protocols that a probe can have, with their numbers. */
export const PROTOCOLS = { icmp: IPPROTO_ICMP, tcp: IPPROTO_TCP, udp: IPPROTO_UDP } as const;

/** Protocol of a probe: an ICMP echo request, a TCP SYN, or an empty UDP datagram. */
export type ProbeProtocol = keyof typeof PROTOCOLS;

/** A packet that is traced through the host. */
export interface ProbePacket {
  readonly source: IPv4;
  readonly destination: IPv4;
  readonly protocol: ProbeProtocol;
  /** Destination port; unused by ICMP. */
  readonly port: number;
  /** IP identification, which distinguishes the probe; also the identifier of an echo request. */
  readonly id: number;
  /** Unused by ICMP. */
  readonly sourcePort: number;
}

/** RFC 791, without options. */
const IPV4_HEADER = 20;
const OFFSET = { length: 2, id: 4, ttl: 8, protocol: 9, checksum: 10, source: 12, destination: 16 };
/** TTL of Linux' own packets (net.ipv4.ip_default_ttl). */
const TTL = 64;

/** RFC 792: echo request and reply. */
const ICMP_ECHO = 8;
const ICMP_ECHO_REPLY = 0;
/** Header, and enough data to distinguish the probe from an empty echo request. */
const ICMP_LENGTH = 16;
const UDP_LENGTH = 8;
/** RFC 9293, without options. */
const TCP_LENGTH = 20;
const TCP_SYN = 2;
const TCP_WINDOW = 64240;

/** Writes the packet, from its IP header on, with checksums. */
export function writeProbe(packet: ProbePacket): Uint8Array<ArrayBuffer> {
  const { source, destination, protocol, id } = packet;
  const payload = { icmp: ICMP_LENGTH, tcp: TCP_LENGTH, udp: UDP_LENGTH }[protocol];
  const bytes = new Uint8Array(new ArrayBuffer(IPV4_HEADER + payload));
  const view = new DataView(bytes.buffer);
  view.setUint8(0, 4 << 4 | IPV4_HEADER / 4);
  view.setUint16(OFFSET.length, bytes.length);
  view.setUint16(OFFSET.id, id);
  view.setUint8(OFFSET.ttl, TTL);
  view.setUint8(OFFSET.protocol, PROTOCOLS[protocol]);
  view.setUint32(OFFSET.source, source);
  view.setUint32(OFFSET.destination, destination);
  // Sums are of little-endian words, and are written as such.
  view.setUint16(OFFSET.checksum, ~onesComplementSum(view, 0, IPV4_HEADER) & 0xffff, true);
  const at = IPV4_HEADER;
  if (protocol === "icmp") {
    view.setUint8(at, ICMP_ECHO);
    view.setUint16(at + 4, id);
    view.setUint16(at + 6, 1);
    view.setUint16(at + 2, ~onesComplementSum(view, at, payload) & 0xffff, true);
    return bytes;
  }
  view.setUint16(at, packet.sourcePort);
  view.setUint16(at + 2, packet.port);
  if (protocol === "tcp") {
    view.setUint32(at + 4, id * 0x10001);
    view.setUint8(at + 12, TCP_LENGTH / 4 << 4);
    view.setUint8(at + 13, TCP_SYN);
    view.setUint16(at + 14, TCP_WINDOW);
  } else view.setUint16(at + 4, UDP_LENGTH);
  view.setUint16(at + (protocol === "tcp" ? 16 : 6), transportChecksum(view, payload), true);
  return bytes;
}

/** Checksum over pseudo header and segment; the fields of the pseudo header are all in the packet. */
function transportChecksum(view: DataView, length: number): number {
  const pseudo = new DataView(new ArrayBuffer(12));
  pseudo.setUint32(0, view.getUint32(OFFSET.source));
  pseudo.setUint32(4, view.getUint32(OFFSET.destination));
  pseudo.setUint8(9, view.getUint8(OFFSET.protocol));
  pseudo.setUint16(10, length);
  const sum = onesComplementSum(pseudo, 0, 12) + onesComplementSum(view, IPV4_HEADER, length);
  const checksum = ~((sum & 0xffff) + (sum >>> 16)) & 0xffff;
  // RFC 768: 0 would mean that there is none.
  return checksum === 0 ? 0xffff : checksum;
}

/** Puts an Ethernet header before a packet. */
export function ethernetFrame(
  packet: Uint8Array,
  { to, from }: { readonly to: Uint8Array; readonly from: Uint8Array },
): Uint8Array<ArrayBuffer> {
  const frame = new Uint8Array(new ArrayBuffer(ETH_HLEN + packet.length));
  frame.set(to, 0);
  frame.set(from, 6);
  new DataView(frame.buffer).setUint16(12, ETH_P_IP);
  frame.set(packet, ETH_HLEN);
  return frame;
}

/** Matches the probe and no other packet, by identification, protocol and addresses. */
export function probeMatch({ id, protocol, source, destination }: ProbePacket): PayloadMatch[] {
  return [
    network(OFFSET.id, u16(id)),
    network(OFFSET.protocol, [PROTOCOLS[protocol]]),
    network(OFFSET.source, [...u32(source), ...u32(destination)]),
  ];
}

/** Matches a reply to the probe. */
export function replyMatch(packet: ProbePacket): PayloadMatch[] {
  const { id, protocol, source, destination } = packet;
  return [
    network(OFFSET.protocol, [PROTOCOLS[protocol]]),
    network(OFFSET.source, [...u32(destination), ...u32(source)]),
    ...(protocol === "icmp"
      ? [transport(0, [ICMP_ECHO_REPLY, 0]), transport(4, u16(id))]
      : [transport(0, [...u16(packet.port), ...u16(packet.sourcePort)])]),
  ];
}

/**
 * Matches the datagram that carries the probe between hosts: UDP to the tunnel's port, with the probe's
 * identification and destination inside. Ignores the source, which may have been masqueraded.
 *
 * @param headers bytes between the UDP header and the probe's IP header: 22 of vxlan, 0 of udp
 */
export function carrierMatch(
  { id, destination }: ProbePacket,
  { port, headers }: { readonly port: number; readonly headers: number },
): PayloadMatch[] {
  const inner = IPV4_HEADER + UDP_LENGTH + headers;
  return [
    network(OFFSET.protocol, [PROTOCOLS.udp]),
    transport(2, u16(port)),
    network(inner + OFFSET.id, u16(id)),
    network(inner + OFFSET.destination, u32(destination)),
  ];
}

/** Header fields of a packet in a trace. */
export interface Headers {
  readonly id: number;
  readonly protocol: number;
  readonly source: IPv4;
  readonly destination: IPv4;
}

/** Reads an IPv4 header; `undefined` when it is none, or too short. */
export function readHeaders(bytes: Uint8Array): Headers | undefined {
  if (bytes.length < IPV4_HEADER || bytes[0]! >>> 4 !== 4) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return {
    id: view.getUint16(OFFSET.id),
    protocol: view.getUint8(OFFSET.protocol),
    source: view.getUint32(OFFSET.source),
    destination: view.getUint32(OFFSET.destination),
  };
}

function network(offset: number, value: readonly number[]): PayloadMatch {
  return { base: "network", offset, value: new Uint8Array(value) };
}

function transport(offset: number, value: readonly number[]): PayloadMatch {
  return { base: "transport", offset, value: new Uint8Array(value) };
}

function u16(value: number): number[] {
  return [value >>> 8, value & 0xff];
}

function u32(value: number): number[] {
  return [value >>> 24, value >>> 16 & 0xff, value >>> 8 & 0xff, value & 0xff];
}
