import { Errno } from "../../../mod/sys/ffi/errno.ts";
import { Counter, type WorkerCounters } from "./counters.ts";
import type { DatagramSocket, PacketDevice } from "./device.ts";
import { FrameVector } from "./packet/frames.ts";
import * as ipv4 from "./packet/ipv4.ts";
import type { PacketMemory } from "./packet/memory.ts";
import { Merger } from "./packet/merge.ts";
import { GSO_NONE, GSO_UDP_L4 } from "./packet/virtio.ts";
import type { PeerLookup } from "./peer_lookup.ts";
import type { RouterParts } from "./router.ts";
import { TrainVector } from "./socket/segment_batches.ts";

/** Packets of one batch from the socket: 8 trains of 128. */
const MAX_FRAMES = 1024;
/** Verdicts beside the counters of the reasons, which are 0 and up. */
const ACCEPTED = -1;
const UNKNOWN = -2;
/** No public IP. */
const NOBODY = -1;

/** The way from the peers to the device. */
export class Inbound {
  readonly #memory: PacketMemory;
  readonly #device: PacketDevice;
  readonly #socket: DatagramSocket;
  readonly #peers: PeerLookup;
  readonly #counters: WorkerCounters;
  readonly #values: Float64Array;

  readonly #trains: TrainVector;
  readonly #frames = new FrameVector(MAX_FRAMES);
  readonly #merger: Merger;
  /** Who sent the last train of this batch, and the verdict on its last packet: most are one flow. */
  #sender = NOBODY;
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
    this.#trains = new TrainVector(parts.socket.receiveBatch);
    this.#merger = new Merger(parts.memory, this.#frames, parts.device.segmentation);
  }

  /**
   * Takes what has arrived from the peers to the device, at most one batch.
   *
   * @returns trains received; 0 when nothing was waiting; -errno when the socket cannot be read
   */
  pump(): number {
    const count = this.#socket.receive(this.#trains);
    if (count <= 0) return count;
    this.#values[Counter.receivedTrains]! += count;
    // What was looked up holds for one batch: a peer that is removed is refused from the next on.
    this.#sender = NOBODY;
    for (let train = 0; train < count; train++) this.#receiveTrain(train);
    this.#write();
    return count;
  }

  /** The packets of one train from a peer. */
  #receiveTrain(train: number): void {
    const trains = this.#trains;
    const address = trains.address[train]!;
    const segment = trains.segment[train]!;
    const length = trains.length[train]!;
    if (length === 0) {
      this.#values[Counter.dropReceiveMalformed]!++;
      return;
    }
    if (trains.truncated[train] !== 0) {
      this.#values[Counter.dropReceiveTruncated]! += trains.packets(train);
      return;
    }
    if (address !== this.#sender) {
      this.#sender = address;
      this.#peer = this.#peers.peerOf(address);
      this.#lastVerdict = UNKNOWN;
    }
    if (this.#peer === 0 && !this.#peers.acceptAny) {
      this.#values[Counter.dropReceiveUnknownSender]! += trains.packets(train);
      return;
    }
    let packets = 0;
    let bytes = 0;
    const end = trains.offset[train]! + length;
    for (let at = trains.offset[train]!; at < end; at += segment) {
      const accepted = this.#receivePacket(at, Math.min(segment, end - at));
      if (accepted === 0) continue;
      packets++;
      bytes += accepted;
    }
    this.#counters.received(this.#peer, packets, bytes);
  }

  /** @returns its length; 0 when it was dropped */
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

  /** @returns ACCEPTED, or the counter of the reason why not */
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
    const honest = peers.inNetwork(source)
      ? peers.route(source) === this.#sender
      : !peers.strictSource;
    return honest ? ACCEPTED : Counter.dropReceiveSpoofed;
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
      // EINVAL is an answer to the frame, not to the device: this kernel does not take the kind.
      if (-written === Errno.EINVAL) this.#giveUp(frames.header(frame).gsoType);
      this.#values[Counter.dropReceiveRefused]! += frames.pieces[frame]!;
      frame++;
    }
    frames.clear();
  }

  #giveUp(gsoType: number): void {
    const { segmentation } = this.#device;
    if (gsoType === GSO_UDP_L4) segmentation.udp = false;
    else if (gsoType !== GSO_NONE) segmentation.tcp = false;
  }
}
