import { onesComplementSum } from "../../../../mod/ip/checksum.ts";
import { type ChecksumKernel, checksumKernel } from "./checksum_wasm.ts";

const PAGE = 65536;

/** Options of {@linkcode PacketMemory}. */
export interface PacketMemoryOptions {
  /**
   * False sums in JavaScript even where vectors exist; for tests and for comparison.
   * @default true
   */
  readonly vectors?: boolean;
}

/**
 * The memory that packets live in: one buffer that never moves or grows, in which a packet is an
 * offset and a length.
 *
 * It is a WebAssembly memory because the checksum kernel can only work on one. Its bytes are also
 * what the system calls of the data path read and write, so it must stay reachable for as long as a
 * descriptor uses it; whoever holds the descriptor holds the memory.
 */
export class PacketMemory {
  /** All of it as bytes. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** All of it as a view, for words at any alignment. */
  readonly view: DataView<ArrayBuffer>;
  readonly #kernel: ChecksumKernel | undefined;
  #allocated = 0;

  /** @param size in bytes, rounded up to whole pages of 64 KiB */
  constructor(size: number, options: PacketMemoryOptions = {}) {
    const pages = Math.ceil(size / PAGE);
    const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
    // Not shared: only the worker that allocated it touches packets.
    const buffer = memory.buffer as ArrayBuffer;
    this.bytes = new Uint8Array(buffer);
    this.view = new DataView(buffer);
    this.#kernel = options.vectors === false ? undefined : checksumKernel(memory);
  }

  /** True when sums are made by the vector kernel. */
  get vectorized(): boolean {
    return this.#kernel !== undefined;
  }

  /**
   * Sets `size` bytes apart, aligned to a cache line of 64 bytes. Never freed: the data path
   * allocates at start only.
   *
   * @returns the offset of the first
   * @throws {RangeError} when they do not fit
   */
  allocate(size: number): number {
    const offset = Math.ceil(this.#allocated / 64) * 64;
    if (offset + size > this.bytes.length) {
      throw new RangeError(
        `packet memory of ${this.bytes.length} bytes has no ${size} after ${offset}`,
      );
    }
    this.#allocated = offset + size;
    return offset;
  }

  /** {@linkcode onesComplementSum} of the range, at the speed of the machine. */
  sum(offset: number, length: number): number {
    return this.#kernel !== undefined
      ? this.#kernel.sum(offset, length)
      : onesComplementSum(this.view, offset, length);
  }

  /** Copies `length` bytes and returns their sum. The ranges do not overlap. */
  copyAndSum(to: number, from: number, length: number): number {
    if (this.#kernel !== undefined) return this.#kernel.copy_sum(to, from, length);
    this.bytes.copyWithin(to, from, from + length);
    return onesComplementSum(this.view, to, length);
  }
}
