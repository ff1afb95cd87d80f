/**
 * A device and a socket in memory, for tests of the router's decisions. What the kernel does with
 * the real ones is tested in tests/kernel/.
 */
import type { IPv4 } from "../../../../mod/ip/mod.ts";
import type { DatagramSocket, PacketDevice } from "../device.ts";
import type { FrameVector } from "../packet/frames.ts";
import type { PacketMemory } from "../packet/memory.ts";
import { plainHeader, type VirtioHeader } from "../packet/virtio.ts";
import type { TrainVector } from "../socket/segment_batches.ts";

/** A frame, all pieces joined. */
export interface FakeFrame {
  readonly packet: Uint8Array;
  readonly header: VirtioHeader;
}

/** A TUN device whose other side is a pair of lists. */
export class FakeDevice implements PacketDevice {
  readonly segmentation = { tcp: true, udp: true };
  /** What `read()` gives, in order. */
  readonly waiting: FakeFrame[] = [];
  /** What was written. */
  readonly written: FakeFrame[] = [];
  /** Gives the errno for a frame, 0 to take it. */
  refuse: (frame: FakeFrame) => number = () => 0;

  constructor(readonly memory: PacketMemory) {}

  /** Lets packets wait to be read. */
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

/** A train as the socket saw it. */
export interface FakeTrain {
  readonly address: IPv4;
  readonly packets: readonly Uint8Array[];
}

/** A UDP socket whose other side is a pair of lists. */
export class FakeSocket implements DatagramSocket {
  maxSegments = 64;
  readonly receiveBatch = 8;
  /** What `receive()` gives, in order; `truncated` marks a datagram that was too long. */
  readonly waiting: (FakeTrain & { readonly truncated?: boolean })[] = [];
  readonly sent: FakeTrain[] = [];
  /** What was sent apart from the others. */
  readonly alone: { address: IPv4; packet: Uint8Array; fragment: boolean }[] = [];
  /** Gives the errno for a train, 0 to take it. */
  refuse: (train: FakeTrain) => number = () => 0;
  /** Answer of `pathMtu()`. */
  mtu = 1500;
  readonly #buffer: number;

  constructor(readonly memory: PacketMemory) {
    this.#buffer = memory.allocate(8 * 65536);
  }

  send(trains: TrainVector, from: number): number {
    for (let train = from; train < trains.count; train++) {
      const packets: Uint8Array[] = [];
      const end = trains.offset[train]! + trains.length[train]!;
      const segment = trains.segment[train]!;
      for (let at = trains.offset[train]!; at < end; at += segment) {
        packets.push(this.memory.bytes.slice(at, Math.min(at + segment, end)));
      }
      const taken = { address: trains.address[train]!, packets };
      const error = this.refuse(taken);
      if (error !== 0) return train > from ? train - from : -error;
      this.sent.push(taken);
    }
    return trains.count - from;
  }

  receive(trains: TrainVector): number {
    trains.clear();
    while (trains.count < this.receiveBatch && this.waiting.length > 0) {
      const { address, packets, truncated } = this.waiting.shift()!;
      const offset = this.#buffer + trains.count * 65536;
      let length = 0;
      for (const packet of packets) {
        this.memory.bytes.set(packet, offset + length);
        length += packet.length;
      }
      trains.push(address, 0, offset, length, packets[0]?.length ?? 0);
      if (truncated) trains.truncated[trains.count - 1] = 1;
    }
    return trains.count;
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
