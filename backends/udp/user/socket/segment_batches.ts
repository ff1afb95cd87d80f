import type { IPv4 } from "../../../../mod/ip/mod.ts";
import { MAX_TRAIN } from "../device.ts";

/**
 * A vector of trains: packets of one peer that lie one behind the other in packet memory, all of
 * the same length but the last, which may be shorter. One train is one message to the kernel
 * (UDP_SEGMENT) or from it (UDP_GRO).
 */
export class TrainVector {
  /** How many trains there are. */
  count = 0;
  /** Per train: the peer's public IP, and its index in the peer table (sending only). */
  readonly address: Uint32Array;
  readonly peer: Uint32Array;
  /** Where it lies, and bytes in all. */
  readonly offset: Int32Array;
  readonly length: Int32Array;
  /** Bytes of each packet but the last. */
  readonly segment: Int32Array;
  /** 1 when the datagram was longer than the buffer (receiving only). */
  readonly truncated: Uint8Array;

  /** @param capacity trains that fit */
  constructor(readonly capacity: number) {
    this.address = new Uint32Array(capacity);
    this.peer = new Uint32Array(capacity);
    this.offset = new Int32Array(capacity);
    this.length = new Int32Array(capacity);
    this.segment = new Int32Array(capacity);
    this.truncated = new Uint8Array(capacity);
  }

  /** True when no further train fits. */
  get isFull(): boolean {
    return this.count === this.capacity;
  }

  /** Makes it empty. */
  clear(): void {
    this.count = 0;
  }

  /** Adds a train. */
  push(address: IPv4, peer: number, offset: number, length: number, segment: number): void {
    const train = this.count++;
    this.address[train] = address;
    this.peer[train] = peer;
    this.offset[train] = offset;
    this.length[train] = length;
    this.segment[train] = segment;
    this.truncated[train] = 0;
  }

  /**
   * Adds a single packet: to the last train where it fits (same peer, right behind it, not longer
   * than the others, which were all of one length), else as a train of its own.
   */
  couple(
    address: IPv4,
    peer: number,
    offset: number,
    length: number,
    maxSegments: number,
  ): void {
    const last = this.count - 1;
    if (last >= 0 && this.address[last] === address) {
      const total = this.length[last]!;
      const segment = this.segment[last]!;
      if (
        this.offset[last]! + total === offset && length <= segment && total % segment === 0 &&
        total + length <= MAX_TRAIN && total / segment < maxSegments
      ) {
        this.length[last] = total + length;
        return;
      }
    }
    this.push(address, peer, offset, length, length);
  }

  /** Packets in a train. */
  packets(train: number): number {
    return Math.ceil(this.length[train]! / this.segment[train]!);
  }
}
