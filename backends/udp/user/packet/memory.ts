import { onesComplementSum } from "../../../../mod/ip/checksum.ts";
import { type ChecksumKernel, checksumKernel } from "./checksum_wasm.ts";

const PAGE = 65536;

/** Options of {@linkcode PacketMemory}. */
export interface PacketMemoryOptions {
  /**
   * False computes checksums in JavaScript; for tests.
   * @default true
   */
  readonly simdChecksum?: boolean;
}

/**
 * The memory of packets: one buffer that never moves or grows. A packet is an offset and a length in it.
 *
 * It is a WebAssembly memory, as the checksum code requires. System calls read and write it by address, so the owner
 * of a descriptor must keep a reference to the memory.
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
    this.#kernel = options.simdChecksum === false ? undefined : checksumKernel(memory);
  }

  /** True when checksums are computed by SIMD instructions. */
  get simdChecksum(): boolean {
    return this.#kernel !== undefined;
  }

  /**
   * Allocates `size` bytes, aligned to a cache line of 64 bytes. They are never freed: the data path allocates only at
   * the start.
   *
   * @returns offset of the first byte
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

  /** Computes {@linkcode onesComplementSum} of the range. */
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
