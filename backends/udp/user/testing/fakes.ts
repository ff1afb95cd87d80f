/**
 * A device and a socket in memory, for tests of the router's decisions. Tests of the real ones are in tests/kernel/udp.
 */
import type { IPv4 } from "../../../../mod/ip/mod.ts";
import type { DatagramSocket, PacketDevice } from "../device.ts";
import type { FrameVector } from "../packet/frames.ts";
import type { PacketMemory } from "../packet/memory.ts";
import { plainHeader, type VirtioHeader } from "../packet/virtio.ts";
import type { SegmentBatches } from "../socket/segment_batches.ts";

/** A frame with its pieces joined. */
export interface FakeFrame {
  readonly packet: Uint8Array;
  readonly header: VirtioHeader;
}

/** A TUN device whose other side is a pair of lists. */
export class FakeDevice implements PacketDevice {
  readonly segmentation = { tcp: true, udp: true };
  /** Frames that `read()` returns, in order. */
  readonly waiting: FakeFrame[] = [];
  /** Frames that were written. */
  readonly written: FakeFrame[] = [];
  /** Returns the errno of writing a frame; 0 accepts it. */
  refuse: (frame: FakeFrame) => number = () => 0;

  constructor(readonly memory: PacketMemory) {}

  /** Adds packets to be read. */
  give(...packets: Uint8Array[]): void {
    this.waiting.push(...packets.map((packet) => ({ packet, header: plainHeader() })));
  }

  read(offset: number, header: VirtioHeader): number {
    const frame = this.waiting.shift();
    if (frame === undefined) return 0;
    this.memory.bytes.set(frame.packet, offset);
    Object.assign(header, frame.header);
    return frame.packet.length;
  }

  write(frames: FrameVector, from: number): number {
    for (let frame = from; frame < frames.count; frame++) {
      const bytes: number[] = [];
      for (let piece = frames.first[frame]!; piece >= 0; piece = frames.pieceNext[piece]!) {
        const at = frames.pieceOffset[piece]!;
        bytes.push(...this.memory.bytes.subarray(at, at + frames.pieceLength[piece]!));
      }
      const taken = { packet: Uint8Array.from(bytes), header: { ...frames.header(frame) } };
      const error = this.refuse(taken);
      if (error !== 0) return frame > from ? frame - from : -error;
      this.written.push(taken);
    }
    return frames.count - from;
  }
}

/** A segment batch as a list of packets. */
export interface FakeBatch {
  readonly address: IPv4;
  readonly packets: readonly Uint8Array[];
}

/** A UDP socket whose other side is a pair of lists. */
export class FakeSocket implements DatagramSocket {
  maxSegments = 64;
  readonly maxReceived = 8;
  /** Batches that `receive()` returns, in order; `truncated` marks a datagram that was too long. */
  readonly waiting: (FakeBatch & { readonly truncated?: boolean })[] = [];
  readonly sent: FakeBatch[] = [];
  /** Datagrams that `sendOne()` sent. */
  readonly alone: { address: IPv4; packet: Uint8Array; fragment: boolean }[] = [];
  /** Returns the errno of sending a batch; 0 accepts it. */
  refuse: (batch: FakeBatch) => number = () => 0;
  /** Result of `pathMtu()`. */
  mtu = 1500;
  readonly #buffer: number;

  constructor(readonly memory: PacketMemory) {
    this.#buffer = memory.allocate(8 * 65536);
  }

  send(batches: SegmentBatches, from: number): number {
    for (let batch = from; batch < batches.count; batch++) {
      const packets: Uint8Array[] = [];
      const end = batches.offset[batch]! + batches.length[batch]!;
      const segment = batches.segment[batch]!;
      for (let at = batches.offset[batch]!; at < end; at += segment) {
        packets.push(this.memory.bytes.slice(at, Math.min(at + segment, end)));
      }
      const taken = { address: batches.address[batch]!, packets };
      const error = this.refuse(taken);
      if (error !== 0) return batch > from ? batch - from : -error;
      this.sent.push(taken);
    }
    return batches.count - from;
  }

  receive(batches: SegmentBatches): number {
    batches.clear();
    while (batches.count < this.maxReceived && this.waiting.length > 0) {
      const { address, packets, truncated } = this.waiting.shift()!;
      const offset = this.#buffer + batches.count * 65536;
      let length = 0;
      for (const packet of packets) {
        this.memory.bytes.set(packet, offset + length);
        length += packet.length;
      }
      batches.push(address, 0, offset, length, packets[0]?.length ?? 0);
      if (truncated) batches.truncated[batches.count - 1] = 1;
    }
    return batches.count;
  }

  sendOne(to: IPv4, offset: number, length: number, fragment: boolean): number {
    const packet = this.memory.bytes.slice(offset, offset + length);
    this.alone.push({ address: to, packet, fragment });
    return 0;
  }

  pathMtu(): number {
    return this.mtu;
  }
}
