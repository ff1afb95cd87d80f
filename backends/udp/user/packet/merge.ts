import { fold } from "../../../../mod/ip/checksum.ts";
import type { FrameVector } from "./frames.ts";
import * as ipv4 from "./ipv4.ts";
import type { PacketMemory } from "./memory.ts";
import { CWR, FIN, PSH, RST, SYN, URG } from "./segment.ts";
import { TCP_ACKNOWLEDGMENT, TCP_DATA_OFFSET, TCP_FLAGS, TCP_MIN_HEADER } from "./segment.ts";
import { TCP_SEQUENCE, TCP_URGENT, UDP_HEADER, UDP_LENGTH } from "./segment.ts";
import { GSO_ECN, GSO_TCPV4, GSO_UDP_L4, NEEDS_CSUM } from "./virtio.ts";
import { TCP_CHECKSUM, UDP_CHECKSUM } from "./virtio.ts";
import { IPPROTO_TCP, IPPROTO_UDP } from "../../../../mod/sys/linux_constants.ts";

/** Kinds of packets to merge; the device must accept GSO packets of the kind. */
export interface MergerOptions {
  /** TCP over IPv4. */
  readonly tcp: boolean;
  /** UDP, which needs Linux 6.2. */
  readonly udp: boolean;
}

/** A flow whose last frame may still grow. */
interface OpenFlow {
  /** Index of its frame; -1: this entry is free. */
  frame: number;
  /** Offset of its first packet, whose headers are the frame's. */
  first: number;
  /** Bytes of IPv4 and transport header. */
  headers: number;
  /** Payload bytes of each segment but the last. */
  size: number;
  /** TCP: sequence number of the next segment. */
  sequence: number;
  /** Identification of the last packet. */
  identification: number;
}

/** Flows that may grow at a time; packets of one receive() rarely belong to more bulk flows. */
const FLOWS = 8;
/** Packets of one frame: writev accepts 1024 pieces (UIO_MAXIOV). */
const MAX_TCP_PACKETS = 512;
/** UDP_MAX_SEGMENTS before Linux 6.9; the kernel refuses a longer frame with EINVAL. */
const MAX_UDP_PACKETS = 64;

/**
 * Merges received packets into frames for the TUN device: consecutive segments of a flow become one GSO packet. It
 * follows the rules of the kernel's GRO (`tcp_gro_receive`, `udp_gro_receive`, `inet_gro_receive`), so that segmenting
 * the result gives the same packets, except for the identification of packets with DF, which has no meaning.
 *
 * A segment extends a frame when it is the next in sequence, its checksums are correct, and all other header fields are
 * the frame's: addresses, ports, TOS with its ECN bits, TTL, DF, acknowledgment, window, flags, options. A shorter
 * segment, PSH or FIN ends the frame; CWR only begins one. SYN, RST, URG and pure acknowledgments get a frame of their
 * own and end that of the flow. Other packets than plain TCP or UDP (options in the IP header, fragments, other
 * protocols) get a frame of their own and end all frames, so that no packet overtakes another of its flow.
 */
export class Merger {
  readonly #memory: PacketMemory;
  readonly #frames: FrameVector;
  readonly #options: MergerOptions;
  readonly #flows: OpenFlow[] = [];
  #opened = 0;
  #openCount = 0;

  /** @param frames receives the frames; clear it and call {@linkcode Merger.reset} before the next packets */
  constructor(memory: PacketMemory, frames: FrameVector, options: MergerOptions) {
    this.#memory = memory;
    this.#frames = frames;
    this.#options = options;
    for (let i = 0; i < FLOWS; i++) {
      const place = { frame: -1, first: 0, headers: 0, size: 0, sequence: 0 };
      this.#flows.push({ ...place, identification: 0 });
    }
  }

  /** Closes all flows: the next packets begin new frames. */
  reset(): void {
    if (this.#openCount === 0) return;
    for (const flow of this.#flows) flow.frame = -1;
    this.#openCount = 0;
  }

  /**
   * Adds the next packet in order of arrival. `packetLength()` must have returned `length` for it, and it must stay in
   * place until the frames are written.
   */
  add(offset: number, length: number): void {
    const { view } = this.#memory;
    const protocol = view.getUint8(offset + ipv4.PROTOCOL);
    const plain = view.getUint8(offset) === 0x45 && !ipv4.isFragment(view, offset);
    if (plain && protocol === IPPROTO_TCP && this.#options.tcp) {
      if (length >= ipv4.MIN_HEADER + TCP_MIN_HEADER) return this.#addTcp(offset, length);
    } else if (plain && protocol === IPPROTO_UDP && this.#options.udp) {
      if (length >= ipv4.MIN_HEADER + UDP_HEADER) return this.#addUdp(offset, length);
    }
    this.reset();
    this.#frames.push(offset, length, false);
  }

  /** Completes the headers of merged frames. Call once before they are written. */
  finish(): void {
    for (let frame = 0; frame < this.#frames.count; frame++) {
      if (this.#frames.pieces[frame]! > 1) this.#finishFrame(frame);
    }
    this.reset();
  }

  #addTcp(offset: number, length: number): void {
    const { view } = this.#memory;
    const tcp = offset + ipv4.MIN_HEADER;
    const header = (view.getUint8(tcp + TCP_DATA_OFFSET) >>> 4) * 4;
    const headers = ipv4.MIN_HEADER + header;
    const payload = length - headers;
    const flags = view.getUint8(tcp + TCP_FLAGS);
    const mergeable = header >= TCP_MIN_HEADER && payload > 0 && (flags & (SYN | RST | URG)) === 0;
    const verified = mergeable && this.#verify(offset, IPPROTO_TCP, length);

    const flow = this.#find(offset);
    if (flow !== undefined) {
      if (verified && (flags & CWR) === 0 && this.#continuesTcp(flow, offset, headers, payload)) {
        this.#extend(flow, offset, headers, payload);
        flow.sequence = (flow.sequence + payload) >>> 0;
        if ((flags & (FIN | PSH)) !== 0) {
          // A GSO packet has the flags of its first segment, plus these.
          const at = flow.first + ipv4.MIN_HEADER + TCP_FLAGS;
          view.setUint8(at, view.getUint8(at) | (flags & (FIN | PSH)));
          this.#close(flow);
        }
        return;
      }
      this.#close(flow);
    }
    const frame = this.#frames.push(offset, length, verified);
    if (!verified || (flags & (FIN | PSH)) !== 0) return;
    this.#open(frame, offset, headers, payload).sequence =
      (view.getUint32(tcp + TCP_SEQUENCE) + payload) >>> 0;
  }

  #addUdp(offset: number, length: number): void {
    const { view } = this.#memory;
    const udp = offset + ipv4.MIN_HEADER;
    const headers = ipv4.MIN_HEADER + UDP_HEADER;
    const payload = length - headers;
    const verified = payload > 0 &&
      view.getUint16(udp + UDP_LENGTH) === length - ipv4.MIN_HEADER &&
      view.getUint16(udp + UDP_CHECKSUM) !== 0 && this.#verify(offset, IPPROTO_UDP, length);

    const flow = this.#find(offset);
    if (flow !== undefined) {
      if (
        verified && payload <= flow.size &&
        this.#continuesIp(flow, offset, payload, MAX_UDP_PACKETS)
      ) {
        return this.#extend(flow, offset, headers, payload);
      }
      this.#close(flow);
    }
    const frame = this.#frames.push(offset, length, verified);
    if (verified) this.#open(frame, offset, headers, payload);
  }

  /** Verifies the checksums of IPv4 and transport header. */
  #verify(offset: number, protocol: number, length: number): boolean {
    const memory = this.#memory;
    const transport = length - ipv4.MIN_HEADER;
    return memory.sum(offset, ipv4.MIN_HEADER) === 0xffff &&
      fold(
          memory.sum(offset + ipv4.MIN_HEADER, transport) +
            ipv4.pseudoHeaderSum(memory.view, offset, protocol, transport),
        ) === 0xffff;
  }

  #find(offset: number): OpenFlow | undefined {
    if (this.#openCount === 0) return undefined;
    const { view } = this.#memory;
    const ports = view.getUint32(offset + ipv4.MIN_HEADER);
    const source = view.getUint32(offset + ipv4.SOURCE);
    const destination = view.getUint32(offset + ipv4.DESTINATION);
    const protocol = view.getUint8(offset + ipv4.PROTOCOL);
    for (let i = 0; i < FLOWS; i++) {
      const flow = this.#flows[i]!;
      if (
        flow.frame >= 0 &&
        view.getUint32(flow.first + ipv4.MIN_HEADER) === ports &&
        view.getUint32(flow.first + ipv4.SOURCE) === source &&
        view.getUint32(flow.first + ipv4.DESTINATION) === destination &&
        view.getUint8(flow.first + ipv4.PROTOCOL) === protocol
      ) return flow;
    }
    return undefined;
  }

  /** Returns whether IPv4 header and size permit extending the flow's frame. */
  #continuesIp(flow: OpenFlow, offset: number, payload: number, maxPackets: number): boolean {
    const { view } = this.#memory;
    const { first } = flow;
    if (
      view.getUint8(offset + ipv4.TOS) !== view.getUint8(first + ipv4.TOS) ||
      view.getUint8(offset + ipv4.TTL) !== view.getUint8(first + ipv4.TTL) ||
      view.getUint16(offset + ipv4.FRAGMENT) !== view.getUint16(first + ipv4.FRAGMENT) ||
      this.#frames.bytes[flow.frame]! + payload > ipv4.MAX_PACKET ||
      this.#frames.pieces[flow.frame]! >= maxPackets
    ) return false;
    // With DF the identification has no meaning (RFC 6864 4.1): senders use one value, or it has gaps after losses.
    // Without DF it must count up, because segmenting the frame will write it so.
    if (ipv4.dontFragment(view, offset)) return true;
    const identification = view.getUint16(offset + ipv4.IDENTIFICATION);
    return ((identification - flow.identification) & 0xffff) === 1;
  }

  #continuesTcp(flow: OpenFlow, offset: number, headers: number, payload: number): boolean {
    const { view } = this.#memory;
    const a = flow.first + ipv4.MIN_HEADER;
    const b = offset + ipv4.MIN_HEADER;
    if (
      headers !== flow.headers || payload > flow.size ||
      view.getUint32(b + TCP_SEQUENCE) !== flow.sequence ||
      view.getUint32(b + TCP_ACKNOWLEDGMENT) !== view.getUint32(a + TCP_ACKNOWLEDGMENT) ||
      view.getUint16(b + TCP_URGENT) !== view.getUint16(a + TCP_URGENT)
    ) return false;
    // Data offset, flags and window as one word.
    const varying = ((CWR | FIN | PSH) << 16) >>> 0;
    const word = view.getUint32(b + TCP_DATA_OFFSET) ^ view.getUint32(a + TCP_DATA_OFFSET);
    if ((word & ~varying) !== 0) return false;
    for (let option = TCP_MIN_HEADER; option < headers - ipv4.MIN_HEADER; option += 4) {
      if (view.getUint32(b + option) !== view.getUint32(a + option)) return false;
    }
    return this.#continuesIp(flow, offset, payload, MAX_TCP_PACKETS);
  }

  #open(frame: number, offset: number, headers: number, payload: number): OpenFlow {
    const flow = this.#flows[this.#opened]!;
    // Round robin: replaces the flow that was opened first.
    this.#opened = (this.#opened + 1) % FLOWS;
    if (flow.frame < 0) this.#openCount++;
    flow.frame = frame;
    flow.first = offset;
    flow.headers = headers;
    flow.size = payload;
    flow.identification = this.#memory.view.getUint16(offset + ipv4.IDENTIFICATION);
    return flow;
  }

  #extend(flow: OpenFlow, offset: number, headers: number, payload: number): void {
    this.#frames.append(flow.frame, offset + headers, payload);
    flow.identification = this.#memory.view.getUint16(offset + ipv4.IDENTIFICATION);
    if (payload < flow.size) this.#close(flow);
  }

  #close(flow: OpenFlow): void {
    if (flow.frame >= 0) this.#openCount--;
    flow.frame = -1;
  }

  #finishFrame(frame: number): void {
    const memory = this.#memory;
    const { view } = memory;
    const at = this.#frames.pieceOffset[this.#frames.first[frame]!]!;
    const firstLength = this.#frames.pieceLength[this.#frames.first[frame]!]!;
    const total = this.#frames.bytes[frame]!;
    const protocol = view.getUint8(at + ipv4.PROTOCOL);
    const transport = at + ipv4.MIN_HEADER;
    view.setUint16(at + ipv4.TOTAL_LENGTH, total);
    ipv4.setHeaderChecksum(memory, at);

    const header = this.#frames.header(frame);
    header.flags = NEEDS_CSUM;
    header.csumStart = ipv4.MIN_HEADER;
    const length = total - ipv4.MIN_HEADER;
    const pseudo = ipv4.pseudoHeaderSum(view, at, protocol, length);
    if (protocol === IPPROTO_TCP) {
      const tcpHeader = (view.getUint8(transport + TCP_DATA_OFFSET) >>> 4) * 4;
      const cwr = view.getUint8(transport + TCP_FLAGS) & CWR;
      header.gsoType = cwr !== 0 ? GSO_TCPV4 | GSO_ECN : GSO_TCPV4;
      header.headerLength = ipv4.MIN_HEADER + tcpHeader;
      header.csumOffset = TCP_CHECKSUM;
      view.setUint16(transport + TCP_CHECKSUM, pseudo, true);
    } else {
      header.gsoType = GSO_UDP_L4;
      header.headerLength = ipv4.MIN_HEADER + UDP_HEADER;
      header.csumOffset = UDP_CHECKSUM;
      view.setUint16(transport + UDP_LENGTH, length);
      view.setUint16(transport + UDP_CHECKSUM, pseudo, true);
    }
    header.gsoSize = firstLength - header.headerLength;
  }
}
