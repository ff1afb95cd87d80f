import { Errno } from "../../../mod/sys/ffi/errno.ts";
import { Counter, type WorkerCounters } from "./counters.ts";
import { type DatagramSocket, MAX_TRAIN, OVERHEAD, type PacketDevice } from "./device.ts";
import { ErrorReporter } from "./error_reporter.ts";
import { FRAGMENTATION_NEEDED, NET_UNREACHABLE } from "./packet/icmp.ts";
import * as ipv4 from "./packet/ipv4.ts";
import type { PacketMemory } from "./packet/memory.ts";
import { completeChecksum, Splitter } from "./packet/segment.ts";
import { GSO_NONE, plainHeader } from "./packet/virtio.ts";
import type { PeerLookup } from "./peer_lookup.ts";
import type { RouterParts } from "./router.ts";
import { TrainVector } from "./socket/segment_batches.ts";

/** Packets are read here, right behind each other; super-packets are cut into the second. */
const READ_BUFFER = 192 * 1024;
const SPLIT_BUFFER = 192 * 1024;
/** Reads before the other direction gets its turn. */
const READ_BATCH = 128;
/** Bytes that are sent without waiting for more: half a second-level cache is not to be filled. */
const SEND_BYTES = 64 * 1024;
const MAX_TRAINS = 256;

/** The way from the device to the peers. */
export class Outbound {
  readonly #memory: PacketMemory;
  readonly #device: PacketDevice;
  readonly #socket: DatagramSocket;
  readonly #peers: PeerLookup;
  readonly #counters: WorkerCounters;
  readonly #values: Float64Array;
  readonly #errors: ErrorReporter;

  readonly #header = plainHeader();
  readonly #splitter: Splitter;
  readonly #trains = new TrainVector(MAX_TRAINS);
  /** Packets and bytes of each train, before any of it is sent. */
  readonly #trainPackets = new Int32Array(MAX_TRAINS);
  readonly #trainBytes = new Int32Array(MAX_TRAINS);
  readonly #readBuffer: number;
  readonly #splitBuffer: number;
  #readAt = 0;
  #splitAt = 0;
  #pendingBytes = 0;

  /** Bytes of packet memory that it takes for itself. */
  static readonly MEMORY: number = READ_BUFFER + SPLIT_BUFFER + 4096;

  constructor(parts: RouterParts) {
    const { memory } = parts;
    this.#memory = memory;
    this.#device = parts.device;
    this.#socket = parts.socket;
    this.#peers = parts.peers;
    this.#counters = parts.counters;
    this.#values = parts.counters.values;
    this.#errors = new ErrorReporter(memory, parts.device, parts.now);
    this.#splitter = new Splitter(memory);
    this.#readBuffer = memory.allocate(READ_BUFFER);
    this.#splitBuffer = memory.allocate(SPLIT_BUFFER);
  }

  /**
   * Takes what waits at the device to the peers, at most {@linkcode READ_BATCH} packets.
   *
   * @param hurry send the first before looking for a second
   * @returns packets read; 0 when none was waiting; -errno when the device cannot be read
   */
  pump(hurry: boolean): number {
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
        (hurry && reads === 0) || this.#pendingBytes >= SEND_BYTES || this.#trains.isFull ||
        this.#readAt > READ_BUFFER - ipv4.MAX_PACKET
      ) this.#flush();
    }
    this.#flush();
    this.#values[Counter.readFrames]! += reads;
    return reads > 0 ? reads : error;
  }

  /** One packet from the device. */
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
    if (this.#header.gsoType !== GSO_NONE) return this.#split(offset, length, to);
    if (!completeChecksum(this.#memory, this.#header, offset, length)) {
      this.#values[Counter.dropSendNotIPv4]!++;
      return;
    }
    // It stays where it is; the next one is read right behind it and may travel in the same train.
    this.#trains.couple(to, this.#peers.peer, offset, length, this.#socket.maxSegments);
    this.#readAt += length;
    this.#pendingBytes += length;
  }

  /** One super-packet from the device. It is not kept: the next packet may be read over it. */
  #split(offset: number, length: number, to: number): void {
    const peer = this.#peers.peer;
    if (!this.#splitter.begin(this.#header, offset, length)) {
      this.#values[Counter.dropSendNotIPv4]!++;
      return;
    }
    for (;;) {
      if (this.#splitAt > SPLIT_BUFFER - MAX_TRAIN || this.#trains.isFull) this.#sendPending();
      const at = this.#splitBuffer + this.#splitAt;
      const written = this.#splitter.next(at, MAX_TRAIN, this.#socket.maxSegments);
      if (written === 0) return;
      this.#trains.push(to, peer, at, written, this.#splitter.segmentLength);
      this.#splitAt += written;
      this.#pendingBytes += written;
    }
  }

  #flush(): void {
    this.#sendPending();
    this.#readAt = 0;
  }

  /** Sends the trains. What is read but not cut yet stays in place. */
  #sendPending(): void {
    const trains = this.#trains;
    for (let train = 0; train < trains.count; train++) {
      this.#trainPackets[train] = trains.packets(train);
      this.#trainBytes[train] = trains.length[train]!;
    }
    for (let train = 0; train < trains.count;) {
      const sent = this.#socket.send(trains, train);
      if (sent <= 0) {
        this.#refused(train++, -sent);
        continue;
      }
      for (const end = train + sent; train < end; train++) {
        this.#counters.sent(
          trains.peer[train]!,
          this.#trainPackets[train]!,
          this.#trainBytes[train]!,
        );
      }
      this.#values[Counter.sentTrains]! += sent;
    }
    trains.clear();
    this.#splitAt = 0;
    this.#pendingBytes = 0;
  }

  /** What is left of a train that the socket did not take. */
  #refused(train: number, error: number): void {
    const trains = this.#trains;
    const left = trains.packets(train);
    this.#counters.sent(
      trains.peer[train]!,
      this.#trainPackets[train]! - left,
      this.#trainBytes[train]! - trains.length[train]!,
    );
    if (error === Errno.EMSGSIZE) this.#tooBig(train);
    else this.#values[refusalCounter(error)]! += left;
  }

  /**
   * The path to a peer is narrower than the link. Packets without DF are cut on the way, as IPv4
   * has it; of the others the sender is told what fits (RFC 1191), once for each run of one flow.
   */
  #tooBig(train: number): void {
    const { view } = this.#memory;
    const trains = this.#trains;
    const address = trains.address[train]!;
    const mtu = this.#socket.pathMtu(address) - OVERHEAD;
    const end = trains.offset[train]! + trains.length[train]!;
    const segment = trains.segment[train]!;
    let reported = -1;
    for (let at = trains.offset[train]!; at < end; at += segment) {
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
      if (error === 0) this.#counters.sent(trains.peer[train]!, 1, length);
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

/** True when two packets have the same addresses and the same first four bytes behind the header. */
function sameFlow(view: DataView, a: number, b: number): boolean {
  return view.getUint32(a + ipv4.SOURCE) === view.getUint32(b + ipv4.SOURCE) &&
    view.getUint32(a + ipv4.DESTINATION) === view.getUint32(b + ipv4.DESTINATION) &&
    view.getUint32(a + ipv4.headerLength(view, a)) ===
      view.getUint32(b + ipv4.headerLength(view, b));
}
