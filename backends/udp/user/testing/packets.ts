/**
 * Packets for tests. Built and checked by a simple reading of the RFCs, which shares no code with the code under test.
 */
import { PacketMemory } from "../packet/memory.ts";
import { plainHeader, type VirtioHeader } from "../packet/virtio.ts";

/** Internet checksum by the C code of RFC 1071, 4.1. */
export function naiveChecksum(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += bytes[i]! * 256 + (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 65536);
  return 0xffff - sum;
}

/** Fields of a test packet; all have defaults. */
export interface PacketFields {
  readonly source?: number;
  readonly destination?: number;
  readonly protocol?: number;
  readonly ttl?: number;
  readonly tos?: number;
  readonly id?: number;
  /** Flags and fragment offset as one word; 0x4000 is DF. */
  readonly fragment?: number;
  readonly ipOptions?: Uint8Array;
  readonly payload?: Uint8Array;
}

/** Fields of a TCP test packet. */
export interface TcpFields extends PacketFields {
  readonly sourcePort?: number;
  readonly destinationPort?: number;
  readonly sequence?: number;
  readonly acknowledgment?: number;
  readonly flags?: number;
  readonly window?: number;
  readonly urgent?: number;
  readonly options?: Uint8Array;
}

const empty = new Uint8Array();

/** Builds an IPv4 packet with a correct header checksum. */
export function ipv4Packet(fields: PacketFields): Uint8Array {
  const options = fields.ipOptions ?? empty;
  const payload = fields.payload ?? empty;
  const header = 20 + options.length;
  const packet = new Uint8Array(header + payload.length);
  const view = new DataView(packet.buffer);
  packet[0] = 0x40 | (header / 4);
  packet[1] = fields.tos ?? 0;
  view.setUint16(2, packet.length);
  view.setUint16(4, fields.id ?? 0x1234);
  view.setUint16(6, fields.fragment ?? 0x4000);
  packet[8] = fields.ttl ?? 64;
  packet[9] = fields.protocol ?? 17;
  view.setUint32(12, fields.source ?? 0x0a010105);
  view.setUint32(16, fields.destination ?? 0x0a010206);
  packet.set(options, 20);
  view.setUint16(10, naiveChecksum(packet.subarray(0, header)));
  packet.set(payload, header);
  return packet;
}

/** Builds a TCP packet with correct checksums. */
export function tcpPacket(fields: TcpFields): Uint8Array {
  const options = fields.options ?? empty;
  const payload = fields.payload ?? empty;
  const header = 20 + options.length;
  const segment = new Uint8Array(header + payload.length);
  const view = new DataView(segment.buffer);
  view.setUint16(0, fields.sourcePort ?? 40000);
  view.setUint16(2, fields.destinationPort ?? 5201);
  view.setUint32(4, fields.sequence ?? 1000);
  view.setUint32(8, fields.acknowledgment ?? 2000);
  segment[12] = (header / 4) << 4;
  segment[13] = fields.flags ?? 0x10;
  view.setUint16(14, fields.window ?? 502);
  view.setUint16(18, fields.urgent ?? 0);
  segment.set(options, 20);
  segment.set(payload, header);
  return sealTransport(ipv4Packet({ ...fields, protocol: 6, payload: segment }), 16);
}

/** Builds a UDP packet with correct checksums. */
export function udpPacket(fields: TcpFields): Uint8Array {
  const payload = fields.payload ?? empty;
  const datagram = new Uint8Array(8 + payload.length);
  const view = new DataView(datagram.buffer);
  view.setUint16(0, fields.sourcePort ?? 40000);
  view.setUint16(2, fields.destinationPort ?? 53);
  view.setUint16(4, datagram.length);
  datagram.set(payload, 8);
  return sealTransport(ipv4Packet({ ...fields, protocol: 17, payload: datagram }), 6);
}

/** Writes the transport checksum at `offset` of the segment. */
function sealTransport(packet: Uint8Array, offset: number): Uint8Array {
  const header = (packet[0]! & 15) * 4;
  const view = new DataView(packet.buffer, packet.byteOffset);
  view.setUint16(header + offset, 0);
  const checksum = transportChecksum(packet);
  view.setUint16(header + offset, checksum === 0 && packet[9] === 17 ? 0xffff : checksum);
  return packet;
}

/** Computes the checksum over pseudo-header and segment: 0 when the packet's checksum is correct. */
export function transportChecksum(packet: Uint8Array): number {
  const segment = packet.subarray((packet[0]! & 15) * 4);
  const covered = new Uint8Array(12 + segment.length);
  covered.set(packet.subarray(12, 20));
  covered[9] = packet[9]!;
  new DataView(covered.buffer).setUint16(10, segment.length);
  covered.set(segment, 12);
  return naiveChecksum(covered);
}

/** Returns whether both checksums of a TCP or UDP packet are correct. */
export function checksumsRight(packet: Uint8Array): boolean {
  return naiveChecksum(packet.subarray(0, (packet[0]! & 15) * 4)) === 0 &&
    transportChecksum(packet) === 0;
}

/** Builds a GSO packet as read from a TUN device: with a partial checksum and its virtio header. */
export function gsoPacket(
  packet: Uint8Array,
  gsoSize: number,
): { packet: Uint8Array; header: VirtioHeader } {
  const copy = packet.slice();
  const tcp = copy[9] === 6;
  const ipHeader = (copy[0]! & 15) * 4;
  const csumOffset = tcp ? 16 : 6;
  const pseudo = new Uint8Array(12);
  pseudo.set(copy.subarray(12, 20));
  pseudo[9] = copy[9]!;
  new DataView(pseudo.buffer).setUint16(10, copy.length - ipHeader);
  new DataView(copy.buffer).setUint16(ipHeader + csumOffset, 0xffff - naiveChecksum(pseudo));
  const cwr = tcp && (copy[ipHeader + 13]! & 0x80) !== 0;
  const header = plainHeader();
  header.flags = 1;
  header.gsoType = tcp ? (cwr ? 0x81 : 1) : 5;
  header.headerLength = ipHeader + (tcp ? (copy[ipHeader + 12]! >>> 4) * 4 : 8);
  header.gsoSize = gsoSize;
  header.csumStart = ipHeader;
  header.csumOffset = csumOffset;
  return { packet: copy, header };
}

/** Returns a memory with `packet` at `offset`. */
export function memoryWith(packet: Uint8Array, offset: number, size = 1 << 18): PacketMemory {
  const memory = new PacketMemory(size);
  memory.bytes.set(packet, offset);
  return memory;
}

/** Returns pseudo-random bytes. */
export function pattern(length: number, seed = 1): Uint8Array {
  const bytes = new Uint8Array(length);
  let state = seed;
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    bytes[i] = state >>> 16;
  }
  return bytes;
}
