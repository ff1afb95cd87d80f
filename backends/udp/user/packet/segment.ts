import { fold, swap16 } from "../../../../mod/ip/checksum.ts";
import * as ipv4 from "./ipv4.ts";
import type { PacketMemory } from "./memory.ts";
import { GSO_ECN, GSO_TCPV4, GSO_UDP_L4, TCP_CHECKSUM, UDP_CHECKSUM } from "./virtio.ts";
import { NEEDS_CSUM, type VirtioHeader } from "./virtio.ts";
import { IPPROTO_TCP, IPPROTO_UDP } from "../../../../mod/sys/linux_constants.ts";

/** TCP header fields (RFC 9293 3.1): offsets in bytes, flags as in byte 13. */
export const TCP_SEQUENCE = 4;
export const TCP_ACKNOWLEDGMENT = 8;
export const TCP_DATA_OFFSET = 12;
export const TCP_FLAGS = 13;
export const TCP_URGENT = 18;
export const TCP_MIN_HEADER = 20;
export const FIN = 0x01;
export const SYN = 0x02;
export const RST = 0x04;
export const PSH = 0x08;
export const ACK = 0x10;
export const URG = 0x20;
export const ECE = 0x40;
export const CWR = 0x80;

/** UDP header fields (RFC 768). */
export const UDP_LENGTH = 4;
export const UDP_HEADER = 8;

/**
 * Segments a GSO packet from the TUN device as the kernel would (`tcp_gso_segment`, `__udp_gso_segment`): repeats the
 * headers; sets lengths, consecutive IP identifications and TCP sequence numbers; FIN and PSH on the last segment, CWR
 * on the first; and completes all checksums.
 *
 * The segments are consecutive in memory, all of {@linkcode Segmenter.segmentLength} but the last, as UDP_SEGMENT
 * sends them.
 *
 * Cost for 64 KB on a 2.9 GHz Xeon: 4 us to copy and sum bytes that the kernel has just written (2.2 us when they are
 * in the cache), 1 us for the 45 headers.
 */
export class Segmenter {
  readonly #memory: PacketMemory;
  #from = 0;
  #headers = 0;
  #protocol = 0;
  #identification = 0;
  #sequence = 0;
  /** Data offset and flags: bytes 12 and 13 of the TCP header. */
  #flags = 0;
  /** Payload bytes: all, and those that are written. */
  #payload = 0;
  #written = 0;
  #gsoSize = 0;
  /** Sums of the header fields that are the same in all segments. */
  #ipSum = 0;
  #transportSum = 0;

  /** @param memory holds GSO packet and segments */
  constructor(memory: PacketMemory) {
    this.#memory = memory;
  }

  /** Length of each segment but the last, headers included, in bytes. */
  get segmentLength(): number {
    return this.#headers + this.#gsoSize;
  }

  /**
   * Begins with a GSO packet, which must stay in place until all of it is written.
   *
   * @returns false when the packet is not the GSO packet of its virtio header: not TCP or UDP over IPv4, a fragment, of
   * another length, or without payload or segment size
   */
  begin(header: VirtioHeader, offset: number, length: number): boolean {
    const { view } = this.#memory;
    this.#payload = this.#written = 0;
    if (
      header.gsoSize === 0 || ipv4.packetLength(view, offset, length) !== length ||
      ipv4.isFragment(view, offset)
    ) return false;
    const ipHeader = ipv4.headerLength(view, offset);
    const transport = offset + ipHeader;
    const type = header.gsoType & ~GSO_ECN;
    const protocol = type === GSO_TCPV4 ? IPPROTO_TCP : type === GSO_UDP_L4 ? IPPROTO_UDP : 0;
    if (protocol === 0 || view.getUint8(offset + ipv4.PROTOCOL) !== protocol) return false;

    let transportHeader = UDP_HEADER;
    if (protocol === IPPROTO_TCP) {
      if (ipHeader + TCP_MIN_HEADER > length) return false;
      transportHeader = (view.getUint8(transport + TCP_DATA_OFFSET) >>> 4) * 4;
      if (transportHeader < TCP_MIN_HEADER) return false;
    }
    const headers = ipHeader + transportHeader;
    if (headers >= length || headers + header.gsoSize > ipv4.MAX_PACKET) return false;

    this.#from = offset;
    this.#headers = headers;
    this.#protocol = protocol;
    this.#payload = length - headers;
    this.#gsoSize = header.gsoSize;
    this.#identification = view.getUint16(offset + ipv4.IDENTIFICATION);
    // Adding the complement subtracts a field that varies.
    const without = (at: number) => ~view.getUint16(at, true) & 0xffff;
    this.#ipSum = this.#memory.sum(offset, ipHeader) + without(offset + ipv4.TOTAL_LENGTH) +
      without(offset + ipv4.IDENTIFICATION) + without(offset + ipv4.CHECKSUM);
    this.#transportSum = ipv4.pseudoHeaderSum(view, offset, protocol, 0) +
      this.#memory.sum(transport, transportHeader);
    if (protocol === IPPROTO_TCP) {
      this.#sequence = view.getUint32(transport + TCP_SEQUENCE);
      this.#flags = view.getUint16(transport + TCP_DATA_OFFSET);
      this.#transportSum += without(transport + TCP_SEQUENCE) +
        without(transport + TCP_SEQUENCE + 2) + without(transport + TCP_DATA_OFFSET) +
        without(transport + TCP_CHECKSUM);
    } else {
      this.#transportSum += without(transport + UDP_LENGTH) + without(transport + UDP_CHECKSUM);
    }
    return true;
  }

  /**
   * Writes the next segments to `to`, which the GSO packet does not overlap.
   *
   * @param room bytes available at `to`
   * @param maxSegments at least 1
   * @returns bytes written; 0 when no segment is left, or `room` is too small for one
   */
  next(to: number, room: number, maxSegments: number): number {
    let at = to;
    for (let segment = 0; segment < maxSegments && this.#written < this.#payload; segment++) {
      const payload = Math.min(this.#gsoSize, this.#payload - this.#written);
      if (this.#headers + payload > to + room - at) break;
      this.#writeSegment(at, payload);
      at += this.#headers + payload;
      this.#written += payload;
    }
    return at - to;
  }

  #writeSegment(at: number, payload: number): void {
    const memory = this.#memory;
    const { view } = memory;
    // Faster than copyWithin() for so few bytes: 9 ns instead of 35.
    memory.copyAndSum(at, this.#from, this.#headers);
    const payloadSum = memory.copyAndSum(
      at + this.#headers,
      this.#from + this.#headers + this.#written,
      payload,
    );

    const total = this.#headers + payload;
    const identification = this.#identification;
    this.#identification = (identification + 1) & 0xffff;
    view.setUint16(at + ipv4.TOTAL_LENGTH, total);
    view.setUint16(at + ipv4.IDENTIFICATION, identification);
    const ipSum = fold(this.#ipSum + swap16(total) + swap16(identification));
    view.setUint16(at + ipv4.CHECKSUM, ~ipSum & 0xffff, true);

    const ipHeader = ipv4.headerLength(view, at);
    const transport = at + ipHeader;
    const length = total - ipHeader;
    if (this.#protocol === IPPROTO_UDP) {
      view.setUint16(transport + UDP_LENGTH, length);
      // The length is in the header and in the pseudo-header.
      const sum = fold(this.#transportSum + 2 * swap16(length) + payloadSum);
      view.setUint16(transport + UDP_CHECKSUM, complementNotZero(sum), true);
      return;
    }
    let flags = this.#flags;
    if (this.#written > 0) flags &= ~CWR;
    if (this.#written + payload < this.#payload) flags &= ~(FIN | PSH);
    const sequence = (this.#sequence + this.#written) >>> 0;
    view.setUint32(transport + TCP_SEQUENCE, sequence);
    view.setUint16(transport + TCP_DATA_OFFSET, flags);
    const sum = fold(
      this.#transportSum + swap16(length) + swap16(sequence >>> 16) + swap16(sequence & 0xffff) +
        swap16(flags) + payloadSum,
    );
    view.setUint16(transport + TCP_CHECKSUM, ~sum & 0xffff, true);
  }
}

/**
 * Completes a partial checksum ({@linkcode NEEDS_CSUM}) of a packet from the TUN device: its field has the sum of the
 * pseudo-header only.
 *
 * @returns false when the virtio header points outside the packet
 */
export function completeChecksum(
  memory: PacketMemory,
  header: VirtioHeader,
  offset: number,
  length: number,
): boolean {
  if ((header.flags & NEEDS_CSUM) === 0) return true;
  const start = header.csumStart;
  const field = start + header.csumOffset;
  if (start < ipv4.MIN_HEADER || field + 2 > length) return false;
  const sum = memory.sum(offset + start, length - start);
  const isUdp = memory.view.getUint8(offset + ipv4.PROTOCOL) === IPPROTO_UDP;
  const checksum = isUdp ? complementNotZero(sum) : ~sum & 0xffff;
  memory.view.setUint16(offset + field, checksum, true);
  return true;
}

/** Complements a UDP sum: 0 means "no checksum", so a computed 0 becomes 0xffff (RFC 768). */
function complementNotZero(sum: number): number {
  const complement = ~sum & 0xffff;
  return complement === 0 ? 0xffff : complement;
}
