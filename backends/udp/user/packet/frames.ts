import {
  DATA_VALID,
  GSO_NONE,
  plainHeader,
  type VirtioHeader,
  writeVirtioHeader,
} from "./virtio.ts";

/**
 * Frames for the TUN device, in the order of writing. A frame is a virtio header and one or more pieces of packet
 * memory: the first of merged packets as a whole, and the payloads of the others. Merging copies nothing.
 *
 * The pieces of a frame are a linked list, because packets of several flows arrive interleaved. All numbers are in
 * typed arrays, so that a packet costs no allocation.
 */
export class FrameVector {
  /** Number of frames. */
  count = 0;
  /** Number of packets in them. */
  packets = 0;
  /** By frame: first piece, number of pieces, and bytes in all. */
  readonly first: Int32Array;
  readonly pieces: Int32Array;
  readonly bytes: Int32Array;
  /** By piece: offset in packet memory, length, and the frame's next piece (-1: none). */
  readonly pieceOffset: Int32Array;
  readonly pieceLength: Int32Array;
  readonly pieceNext: Int32Array;
  readonly #last: Int32Array;
  readonly #headers: VirtioHeader[] = [];

  /** @param capacity maximum number of packets */
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

  /** True when `packets` has reached `capacity`. */
  get isFull(): boolean {
    return this.packets === this.capacity;
  }

  /** Removes all frames. */
  clear(): void {
    this.count = this.packets = 0;
  }

  /**
   * Adds a packet as a frame of its own.
   *
   * @param verified its checksums are known to be correct, so that the kernel need not verify them
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

  /** Appends a piece to a frame. */
  append(frame: number, offset: number, length: number): void {
    const piece = this.#piece(offset, length);
    this.pieceNext[this.#last[frame]!] = piece;
    this.#last[frame] = piece;
    this.pieces[frame]!++;
    this.bytes[frame]! += length;
  }

  /** The header of a frame, which the caller may change. */
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
