import { Errno } from "../../../mod/sys/ffi/errno.ts";
import { Counter, type WorkerCounters } from "./counters.ts";
import { type DatagramSocket, OVERHEAD, type PacketDevice } from "./device.ts";
import { ErrorReporter } from "./error_reporter.ts";
import { FRAGMENTATION_NEEDED, NET_UNREACHABLE } from "./packet/icmp.ts";
import * as ipv4 from "./packet/ipv4.ts";
import type { PacketMemory } from "./packet/memory.ts";
import { completeChecksum, Segmenter } from "./packet/segment.ts";
import { GSO_NONE, plainHeader } from "./packet/virtio.ts";
import type { PeerLookup } from "./peer_lookup.ts";
import { SegmentBatches } from "./socket/segment_batches.ts";
import { MAX_BATCH_BYTES } from "./socket/segment_batches.ts";
import type { RouterParts } from "./device.ts";

/** Bytes for packets read from the device, and for the segments of GSO packets. */
const READ_BUFFER = 192 * 1024;
const SEGMENT_BUFFER = 192 * 1024;
/** Packets read before the other direction gets its turn. */
const READ_BATCH = 128;
/** Pending bytes that are sent before more is read, so that they stay in half of a second-level cache. */
const SEND_BYTES = 64 * 1024;
const MAX_BATCHES = 256;

/** Carries packets from the device to the peers. */
export class Outbound {
  readonly #memory: PacketMemory;
  readonly #device: PacketDevice;
  readonly #socket: DatagramSocket;
  readonly #peers: PeerLookup;
  readonly #counters: WorkerCounters;
  readonly #values: Float64Array;
  readonly #errors: ErrorReporter;

  readonly #header = plainHeader();
  readonly #segmenter: Segmenter;
  readonly #batches = new SegmentBatches(MAX_BATCHES);
  /** Packets and bytes of each batch before it is sent. */
  readonly #batchPackets = new Int32Array(MAX_BATCHES);
  readonly #batchBytes = new Int32Array(MAX_BATCHES);
  readonly #readBuffer: number;
  readonly #segmentBuffer: number;
  #readAt = 0;
  #segmentAt = 0;
  #pendingBytes = 0;

  /** Bytes of packet memory that it allocates. */
  static readonly MEMORY: number = READ_BUFFER + SEGMENT_BUFFER + 4096;

  constructor(parts: RouterParts) {
    const { memory } = parts;
    this.#memory = memory;
    this.#device = parts.device;
    this.#socket = parts.socket;
    this.#peers = parts.peers;
    this.#counters = parts.counters;
    this.#values = parts.counters.values;
    this.#errors = new ErrorReporter(memory, parts.device, parts.now);
    this.#segmenter = new Segmenter(memory);
    this.#readBuffer = memory.allocate(READ_BUFFER);
    this.#segmentBuffer = memory.allocate(SEGMENT_BUFFER);
  }

  /**
   * Reads waiting packets from the device and sends them to the peers, at most {@linkcode READ_BATCH}.
   *
   * @param flushFirst send the first packet before a second one is read
   * @returns packets read; 0 when none was waiting; -errno when the device cannot be read
   */
  pump(flushFirst: boolean): number {
    let reads = 0;
    let error = 0;
    for (; reads < READ_BATCH; reads++) {
      const offset = this.#readBuffer + this.#readAt;
      const length = this.#device.read(offset, this.#header);
      if (length <= 0) {
        error = length;
        break;
      }
      this.#take(offset, length);
      if (
        (flushFirst && reads === 0) || this.#pendingBytes >= SEND_BYTES || this.#batches.isFull ||
        this.#readAt > READ_BUFFER - ipv4.MAX_PACKET
      ) this.#flush();
    }
    this.#flush();
    this.#values[Counter.readFrames]! += reads;
    return reads > 0 ? reads : error;
  }

  /** Handles one packet from the device. */
  #take(offset: number, length: number): void {
    const { view } = this.#memory;
    if (ipv4.packetLength(view, offset, length) !== length) {
      this.#values[Counter.dropSendNotIPv4]!++;
      return;
    }
    const to = this.#peers.route(view.getUint32(offset + ipv4.DESTINATION));
    if (to === 0) {
      this.#values[Counter.dropSendNoRoute]!++;
      if (this.#errors.report(offset, NET_UNREACHABLE, 0)) this.#values[Counter.unreachables]!++;
      return;
    }
    if (!ipv4.decrementTtl(view, offset)) {
      this.#values[Counter.dropSendTtl]!++;
      return;
    }
    if (this.#header.gsoType !== GSO_NONE) return this.#segment(offset, length, to);
    if (!completeChecksum(this.#memory, this.#header, offset, length)) {
      this.#values[Counter.dropSendNotIPv4]!++;
      return;
    }
    // The packet stays in place. The next one is read right behind it and may join its segment batch.
    this.#batches.appendPacket(to, this.#peers.peer, offset, length, this.#socket.maxSegments);
    this.#readAt += length;
    this.#pendingBytes += length;
  }

  /** Segments one GSO packet from the device. The next packet may be read over it. */
  #segment(offset: number, length: number, to: number): void {
    const peer = this.#peers.peer;
    if (!this.#segmenter.begin(this.#header, offset, length)) {
      this.#values[Counter.dropSendNotIPv4]!++;
      return;
    }
    for (;;) {
      if (this.#segmentAt > SEGMENT_BUFFER - MAX_BATCH_BYTES || this.#batches.isFull) {
        this.#sendPending();
      }
      const at = this.#segmentBuffer + this.#segmentAt;
      const written = this.#segmenter.next(at, MAX_BATCH_BYTES, this.#socket.maxSegments);
      if (written === 0) return;
      this.#batches.push(to, peer, at, written, this.#segmenter.segmentLength);
      this.#segmentAt += written;
      this.#pendingBytes += written;
    }
  }

  #flush(): void {
    this.#sendPending();
    this.#readAt = 0;
  }

  /** Sends all batches. A GSO packet that is not fully segmented stays in place. */
  #sendPending(): void {
    const batches = this.#batches;
    for (let batch = 0; batch < batches.count; batch++) {
      this.#batchPackets[batch] = batches.packets(batch);
      this.#batchBytes[batch] = batches.length[batch]!;
    }
    for (let batch = 0; batch < batches.count;) {
      const sent = this.#socket.send(batches, batch);
      if (sent <= 0) {
        this.#refused(batch++, -sent);
        continue;
      }
      for (const end = batch + sent; batch < end; batch++) {
        this.#counters.sent(
          batches.peer[batch]!,
          this.#batchPackets[batch]!,
          this.#batchBytes[batch]!,
        );
      }
      this.#values[Counter.sentBatches]! += sent;
    }
    batches.clear();
    this.#segmentAt = 0;
    this.#pendingBytes = 0;
  }

  /** Handles the rest of a batch that the socket refused. */
  #refused(batch: number, error: number): void {
    const batches = this.#batches;
    const left = batches.packets(batch);
    this.#counters.sent(
      batches.peer[batch]!,
      this.#batchPackets[batch]! - left,
      this.#batchBytes[batch]! - batches.length[batch]!,
    );
    if (error === Errno.EMSGSIZE) this.#tooBig(batch);
    else this.#values[refusalCounter(error)]! += left;
  }

  /**
   * Handles packets that exceed the path MTU: lets the kernel fragment those without DF, and reports the path MTU to
   * the sender of the others (RFC 1191), once for consecutive packets of one flow.
   */
  #tooBig(batch: number): void {
    const { view } = this.#memory;
    const batches = this.#batches;
    const address = batches.address[batch]!;
    const mtu = this.#socket.pathMtu(address) - OVERHEAD;
    const end = batches.offset[batch]! + batches.length[batch]!;
    const segment = batches.segment[batch]!;
    let reported = -1;
    for (let at = batches.offset[batch]!; at < end; at += segment) {
      const length = Math.min(segment, end - at);
      const fits = length <= mtu;
      if (!fits && (mtu < 0 || ipv4.dontFragment(view, at))) {
        this.#values[Counter.dropSendTooBig]!++;
        if (mtu < 0 || (reported >= 0 && sameFlow(view, reported, at))) continue;
        reported = at;
        if (this.#errors.report(at, FRAGMENTATION_NEEDED, mtu)) this.#values[Counter.tooBigs]!++;
        continue;
      }
      const error = -this.#socket.sendOne(address, at, length, !fits);
      if (error === 0) this.#counters.sent(batches.peer[batch]!, 1, length);
      else this.#values[refusalCounter(error)]!++;
    }
  }
}

function refusalCounter(error: number): number {
  switch (error) {
    case Errno.EAGAIN:
    case Errno.ENOBUFS:
    case Errno.ENOMEM:
      return Counter.dropSendBuffer;
    case Errno.EMSGSIZE:
      return Counter.dropSendTooBig;
    default:
      return Counter.dropSendRefused;
  }
}

/** Returns whether two packets have the same addresses and the same first four bytes behind the IPv4 header. */
function sameFlow(view: DataView, a: number, b: number): boolean {
  return view.getUint32(a + ipv4.SOURCE) === view.getUint32(b + ipv4.SOURCE) &&
    view.getUint32(a + ipv4.DESTINATION) === view.getUint32(b + ipv4.DESTINATION) &&
    view.getUint32(a + ipv4.headerLength(view, a)) ===
      view.getUint32(b + ipv4.headerLength(view, b));
}
