import {
  DATA_VALID,
  GSO_NONE,
  plainHeader,
  type VirtioHeader,
  writeVirtioHeader,
} from "./virtio.ts";

/**
 * A vector of packets for the TUN device, in the order in which they are to be written. A frame is
 * a virtio header and one or more pieces of packet memory: the first packet of a merged run whole,
 * of the others the payload, where it lies. Nothing is copied to merge.
 *
 * Pieces of one frame are a linked list, since those of several flows come interleaved. Numbers in
 * flat arrays: no allocation, nothing for the collector to do per packet.
 */
export class FrameVector {
  /** How many frames there are. */
  count = 0;
  /** How many packets were put into them. */
  packets = 0;
  /** Per frame: first piece, how many, and bytes in all. */
  readonly first: Int32Array;
  readonly pieces: Int32Array;
  readonly bytes: Int32Array;
  /** Per piece: place in packet memory, length, and the next of the frame (-1: none). */
  readonly pieceOffset: Int32Array;
  readonly pieceLength: Int32Array;
  readonly pieceNext: Int32Array;
  readonly #last: Int32Array;
  readonly #headers: VirtioHeader[] = [];

  /** @param capacity packets that fit */
  constructor(readonly capacity: number) {
    this.first = new Int32Array(capacity);
    this.pieces = new Int32Array(capacity);
    this.bytes = new Int32Array(capacity);
    this.pieceOffset = new Int32Array(capacity);
    this.pieceLength = new Int32Array(capacity);
    this.pieceNext = new Int32Array(capacity);
    this.#last = new Int32Array(capacity);
    for (let i = 0; i < capacity; i++) this.#headers.push(plainHeader());
  }

  /** True when no further packet fits. */
  get isFull(): boolean {
    return this.packets === this.capacity;
  }

  /** Makes it empty. */
  clear(): void {
    this.count = this.packets = 0;
  }

  /**
   * Adds a packet as a frame of its own.
   *
   * @param verified true when its checksums are known to be right, so that the kernel need not look
   * @returns the frame's index
   */
  push(offset: number, length: number, verified: boolean): number {
    const frame = this.count++;
    const header = this.#headers[frame]!;
    header.flags = verified ? DATA_VALID : 0;
    header.gsoType = GSO_NONE;
    header.headerLength =
      header.gsoSize =
      header.csumStart =
      header.csumOffset =
        0;
    this.first[frame] = this.#last[frame] = this.#piece(offset, length);
    this.pieces[frame] = 1;
    this.bytes[frame] = length;
    return frame;
  }

  /** Adds a further piece to a frame. */
  append(frame: number, offset: number, length: number): void {
    const piece = this.#piece(offset, length);
    this.pieceNext[this.#last[frame]!] = piece;
    this.#last[frame] = piece;
    this.pieces[frame]!++;
    this.bytes[frame]! += length;
  }

  /** The header of a frame, to be changed in place. */
  header(frame: number): VirtioHeader {
    return this.#headers[frame]!;
  }

  /** Writes the header of a frame to `at`. */
  writeHeader(frame: number, view: DataView, at: number): void {
    writeVirtioHeader(view, at, this.#headers[frame]!);
  }

  #piece(offset: number, length: number): number {
    const piece = this.packets++;
    this.pieceOffset[piece] = offset;
    this.pieceLength[piece] = length;
    this.pieceNext[piece] = -1;
    return piece;
  }
}
