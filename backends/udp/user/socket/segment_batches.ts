import type { IPv4 } from "../../../../mod/ip/mod.ts";

/** Maximum payload of a UDP datagram over IPv4, and so of a segment batch: 65,535 bytes less both headers. */
export const MAX_BATCH_BYTES = 65507;

/**
 * Segment batches to send or as received. A segment batch is one message to the kernel (UDP_SEGMENT) or from it
 * (UDP_GRO): consecutive packets of one peer in packet memory, all of the same length but the last, which may be
 * shorter.
 */
export class SegmentBatches {
  /** Number of batches. */
  count = 0;
  /** By batch: the peer's public IP, and its index in the peer table (sending only). */
  readonly address: Uint32Array;
  readonly peer: Uint32Array;
  /** By batch: offset in packet memory, and length in bytes. */
  readonly offset: Int32Array;
  readonly length: Int32Array;
  /** By batch: bytes of each packet but the last. */
  readonly segment: Int32Array;
  /** By batch: 1 when the datagram was longer than the buffer (receiving only). */
  readonly truncated: Uint8Array;

  /** @param capacity maximum number of batches */
  constructor(readonly capacity: number) {
    this.address = new Uint32Array(capacity);
    this.peer = new Uint32Array(capacity);
    this.offset = new Int32Array(capacity);
    this.length = new Int32Array(capacity);
    this.segment = new Int32Array(capacity);
    this.truncated = new Uint8Array(capacity);
  }

  /** True when `count` has reached `capacity`. */
  get isFull(): boolean {
    return this.count === this.capacity;
  }

  /** Removes all batches. */
  clear(): void {
    this.count = 0;
  }

  /** Adds a batch. */
  push(address: IPv4, peer: number, offset: number, length: number, segment: number): void {
    const batch = this.count++;
    this.address[batch] = address;
    this.peer[batch] = peer;
    this.offset[batch] = offset;
    this.length[batch] = length;
    this.segment[batch] = segment;
    this.truncated[batch] = 0;
  }

  /**
   * Appends a packet to the last batch, or begins a new batch. The last batch must be of the same peer and end where
   * the packet begins, its packets must have one length, and the packet must not be longer.
   */
  appendPacket(
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
        total + length <= MAX_BATCH_BYTES && total / segment < maxSegments
      ) {
        this.length[last] = total + length;
        return;
      }
    }
    this.push(address, peer, offset, length, length);
  }

  /** Number of packets in a batch. */
  packets(batch: number): number {
    return Math.ceil(this.length[batch]! / this.segment[batch]!);
  }
}
