import { Errno } from "../../../mod/sys/ffi/errno.ts";
import { Counter, type WorkerCounters } from "./counters.ts";
import type { DatagramSocket, PacketDevice } from "./device.ts";
import { FrameVector } from "./packet/frames.ts";
import * as ipv4 from "./packet/ipv4.ts";
import type { PacketMemory } from "./packet/memory.ts";
import { Merger } from "./packet/merge.ts";
import { GSO_NONE, GSO_UDP_L4 } from "./packet/virtio.ts";
import type { PeerLookup } from "./peer_lookup.ts";
import { SegmentBatches } from "./socket/segment_batches.ts";
import type { RouterParts } from "./device.ts";

/** Packets of one receive(): 8 segment batches of 128 packets. */
const MAX_FRAMES = 1024;
/** Verdicts other than a drop, whose verdict is the counter of its reason (0 and up). */
const ACCEPTED = -1;
const UNKNOWN = -2;
/** A value that is no public IP. */
const NO_SENDER = -1;

/** Carries packets from the peers to the device. */
export class Inbound {
  readonly #memory: PacketMemory;
  readonly #device: PacketDevice;
  readonly #socket: DatagramSocket;
  readonly #peers: PeerLookup;
  readonly #counters: WorkerCounters;
  readonly #values: Float64Array;

  readonly #batches: SegmentBatches;
  readonly #frames = new FrameVector(MAX_FRAMES);
  readonly #merger: Merger;
  /** Sender of the last batch, and verdict on its last packet: a cache, since most batches are of one flow. */
  #sender = NO_SENDER;
  #peer = 0;
  #lastSource = 0;
  #lastDestination = 0;
  #lastVerdict = UNKNOWN;

  constructor(parts: RouterParts) {
    this.#memory = parts.memory;
    this.#device = parts.device;
    this.#socket = parts.socket;
    this.#peers = parts.peers;
    this.#counters = parts.counters;
    this.#values = parts.counters.values;
    this.#batches = new SegmentBatches(parts.socket.maxReceived);
    this.#merger = new Merger(parts.memory, this.#frames, parts.device.segmentation);
  }

  /**
   * Receives packets that have arrived, filters them and writes them to the device.
   *
   * @returns batches received; 0 when nothing was waiting; -errno when the socket cannot be read
   */
  pump(): number {
    const count = this.#socket.receive(this.#batches);
    if (count <= 0) return count;
    this.#values[Counter.receivedBatches]! += count;
    // The cache is valid for one receive(): packets of a peer that is removed are dropped from the next on.
    this.#sender = NO_SENDER;
    for (let batch = 0; batch < count; batch++) this.#receiveBatch(batch);
    this.#write();
    return count;
  }

  /** Handles the packets of one segment batch. */
  #receiveBatch(batch: number): void {
    const batches = this.#batches;
    const address = batches.address[batch]!;
    const segment = batches.segment[batch]!;
    const length = batches.length[batch]!;
    if (length === 0) {
      this.#values[Counter.dropReceiveMalformed]!++;
      return;
    }
    if (batches.truncated[batch] !== 0) {
      this.#values[Counter.dropReceiveTruncated]! += batches.packets(batch);
      return;
    }
    if (address !== this.#sender) {
      this.#sender = address;
      this.#peer = this.#peers.peerOf(address);
      this.#lastVerdict = UNKNOWN;
    }
    if (this.#peer === 0 && !this.#peers.acceptAny) {
      this.#values[Counter.dropReceiveUnknownSender]! += batches.packets(batch);
      return;
    }
    let packets = 0;
    let bytes = 0;
    const end = batches.offset[batch]! + length;
    for (let at = batches.offset[batch]!; at < end; at += segment) {
      const accepted = this.#receivePacket(at, Math.min(segment, end - at));
      if (accepted === 0) continue;
      packets++;
      bytes += accepted;
    }
    this.#counters.received(this.#peer, packets, bytes);
  }

  /** @returns length of the packet; 0 when it was dropped */
  #receivePacket(at: number, available: number): number {
    const { view } = this.#memory;
    const length = ipv4.packetLength(view, at, available);
    if (length === 0) {
      this.#values[Counter.dropReceiveMalformed]!++;
      return 0;
    }
    const verdict = this.#verdict(
      view.getUint32(at + ipv4.SOURCE),
      view.getUint32(at + ipv4.DESTINATION),
    );
    if (verdict !== ACCEPTED) {
      this.#values[verdict]!++;
      return 0;
    }
    if (!ipv4.decrementTtl(view, at)) {
      this.#values[Counter.dropReceiveTtl]!++;
      return 0;
    }
    if (this.#frames.isFull) this.#write();
    this.#merger.add(at, length);
    return length;
  }

  /** @returns ACCEPTED, or the counter of the reason for a drop */
  #verdict(source: number, destination: number): number {
    if (
      this.#lastVerdict !== UNKNOWN && source === this.#lastSource &&
      destination === this.#lastDestination
    ) return this.#lastVerdict;
    this.#lastSource = source;
    this.#lastDestination = destination;
    return this.#lastVerdict = this.#judge(source, destination);
  }

  #judge(source: number, destination: number): number {
    const peers = this.#peers;
    if (!peers.inOwnLease(destination)) return Counter.dropReceiveForeign;
    if (peers.acceptAny) return ACCEPTED;
    const isAuthentic = peers.inNetwork(source)
      ? peers.route(source) === this.#sender
      : !peers.strictSource;
    return isAuthentic ? ACCEPTED : Counter.dropReceiveSpoofed;
  }

  #write(): void {
    const frames = this.#frames;
    this.#merger.finish();
    for (let frame = 0; frame < frames.count;) {
      const written = this.#device.write(frames, frame);
      if (written > 0) {
        frame += written;
        this.#values[Counter.writtenFrames]! += written;
        continue;
      }
      // EINVAL: the kernel does not support this kind of GSO packet.
      if (-written === Errno.EINVAL) this.#disable(frames.header(frame).gsoType);
      this.#values[Counter.dropReceiveRefused]! += frames.pieces[frame]!;
      frame++;
    }
    frames.clear();
  }

  #disable(gsoType: number): void {
    const { segmentation } = this.#device;
    if (gsoType === GSO_UDP_L4) segmentation.udp = false;
    else if (gsoType !== GSO_NONE) segmentation.tcp = false;
  }
}
