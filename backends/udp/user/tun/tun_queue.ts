import { Errno } from "../../../../mod/sys/ffi/errno.ts";
import { errno, libc } from "../../../../mod/sys/ffi/libc.ts";
import type { PacketDevice } from "../device.ts";
import type { FrameVector } from "../packet/frames.ts";
import { MAX_PACKET } from "../packet/ipv4.ts";
import type { PacketMemory } from "../packet/memory.ts";
import { readVirtioHeader, VIRTIO_HEADER, type VirtioHeader } from "../packet/virtio.ts";
import { baseAddress, IOVEC, writeIovec } from "../packet/iovec.ts";

/** UIO_MAXIOV of writev(2); a frame of the merger has fewer pieces. */
const MAX_IOVECS = 1024;

/** The queue of a TUN device of one worker. */
export class TunQueue implements PacketDevice {
  readonly segmentation: { tcp: boolean; udp: boolean };
  readonly #fd: number;
  readonly #memory: PacketMemory;
  readonly #base: number;
  readonly #header: number;
  readonly #readIovecs: number;
  readonly #writeIovecs: number;
  readonly #readVector: Uint8Array<ArrayBuffer>;
  readonly #writeVector: Uint8Array<ArrayBuffer>;

  /** Bytes of packet memory that a queue allocates. */
  static readonly MEMORY: number = (MAX_IOVECS + 4) * IOVEC + 256;

  /**
   * @param fd non-blocking
   * @param memory holds the packets; the queue allocates {@linkcode TunQueue.MEMORY} bytes of it
   * @param segmentation kinds of GSO packets that may be written
   */
  constructor(
    fd: number,
    memory: PacketMemory,
    segmentation: { readonly tcp: boolean; readonly udp: boolean },
  ) {
    this.#fd = fd;
    this.#memory = memory;
    this.segmentation = { ...segmentation };
    this.#base = baseAddress(memory);
    this.#header = memory.allocate(VIRTIO_HEADER);
    this.#readIovecs = memory.allocate(2 * IOVEC);
    this.#writeIovecs = memory.allocate(MAX_IOVECS * IOVEC);
    this.#readVector = memory.bytes.subarray(this.#readIovecs, this.#readIovecs + 2 * IOVEC);
    this.#writeVector = memory.bytes.subarray(
      this.#writeIovecs,
      this.#writeIovecs + MAX_IOVECS * IOVEC,
    );
    writeIovec(memory.view, this.#readIovecs, this.#base + this.#header, VIRTIO_HEADER);
    writeIovec(memory.view, this.#writeIovecs, this.#base + this.#header, VIRTIO_HEADER);
  }

  read(offset: number, header: VirtioHeader): number {
    // The header has a place of its own, so that packets are consecutive in memory.
    const { view } = this.#memory;
    writeIovec(view, this.#readIovecs + IOVEC, this.#base + offset, MAX_PACKET);
    const result = libc().readv(this.#fd, this.#readVector, 2);
    if (result <= 0) return result === 0 ? 0 : readResult(errno());
    readVirtioHeader(view, this.#header, header);
    return result - VIRTIO_HEADER;
  }

  write(frames: FrameVector, from: number): number {
    const { view } = this.#memory;
    const { pieceOffset, pieceLength, pieceNext } = frames;
    for (let frame = from; frame < frames.count; frame++) {
      frames.writeHeader(frame, view, this.#header);
      let at = this.#writeIovecs + IOVEC;
      for (let piece = frames.first[frame]!; piece >= 0; piece = pieceNext[piece]!) {
        writeIovec(view, at, this.#base + pieceOffset[piece]!, pieceLength[piece]!);
        at += IOVEC;
      }
      const result = libc().writev(this.#fd, this.#writeVector, 1 + frames.pieces[frame]!);
      if (result < 0) {
        const error = errno();
        return frame > from ? frame - from : -error;
      }
    }
    return frames.count - from;
  }
}

/** Maps errno of a read to its result: 0 when no packet is waiting, else -errno. */
function readResult(error: number): number {
  return error === Errno.EAGAIN || error === Errno.EINTR ? 0 : -error;
}
