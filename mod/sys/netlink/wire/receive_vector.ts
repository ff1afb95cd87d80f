import type { Arena, Memory } from "../../ffi/arena.ts";
import { errno, libc } from "../../ffi/libc.ts";
import { Errno, SysError } from "../../ffi/errno.ts";
import { MSG_DONTWAIT, MSG_TRUNC } from "../../linux_constants.ts";

/** struct msghdr is 56 bytes: iov pointer at 16, iovlen at 24, flags at 48. */
const MSGHDR_IOV = 16;
const MSGHDR_IOVLEN = 24;
const MSGHDR_FLAGS = 48;
/** struct mmsghdr: msghdr, then u32 msg_len, padded to 64 bytes. */
const MMSGHDR_LENGTH = 64;
const MMSGHDR_MSG_LEN = 56;
/** struct iovec: void *iov_base, size_t iov_len. */
const IOVEC_LENGTH = 16;

/** Called for each datagram; it lies in `view` from `start` to `end` until the next receive. */
export type Visit = (view: DataView, start: number, end: number) => void;

/** Receives many datagrams with one recvmmsg(2), each into a slot of its own. */
export class ReceiveVector {
  readonly #memory: Memory;
  readonly #headers: Memory;
  readonly #slots: number;
  readonly #slotSize: number;

  /**
   * @param arena owns the tables
   * @param memory divided into slots
   * @param slots how many datagrams fit; a longer datagram than `memory / slots` is truncated
   */
  constructor(arena: Arena, memory: Memory, slots: number) {
    this.#memory = memory;
    this.#slots = slots;
    this.#slotSize = Math.floor(memory.bytes.length / slots);
    this.#headers = arena.allocate(slots * MMSGHDR_LENGTH);
    const iovecs = arena.allocate(slots * IOVEC_LENGTH);
    for (let slot = 0; slot < slots; slot++) {
      const iovec = slot * IOVEC_LENGTH;
      const header = slot * MMSGHDR_LENGTH;
      iovecs.view.setBigUint64(iovec, memory.address + BigInt(slot * this.#slotSize), true);
      iovecs.view.setBigUint64(iovec + 8, BigInt(this.#slotSize), true);
      this.#headers.view.setBigUint64(header + MSGHDR_IOV, iovecs.address + BigInt(iovec), true);
      this.#headers.view.setBigUint64(header + MSGHDR_IOVLEN, 1n, true);
    }
  }

  /**
   * Takes what is queued, without waiting.
   *
   * @returns how many datagrams there were; 0 when the queue is empty
   * @throws {SysError} ENOBUFS when the queue overran since the last call; what had been queued
   *   before is still there. EMSGSIZE when a datagram did not fit its slot
   */
  receive(fd: number, visit: Visit): number {
    const count = libc().recvmmsg(fd, this.#headers.bytes, this.#slots, MSG_DONTWAIT, null);
    if (count === -1) {
      const number = errno();
      if (number === Errno.EAGAIN || number === Errno.EINTR) return 0;
      throw new SysError("recvmmsg", number);
    }
    let truncated = false;
    for (let slot = 0; slot < count; slot++) {
      const header = slot * MMSGHDR_LENGTH;
      const flags = this.#headers.view.getUint32(header + MSGHDR_FLAGS, true);
      if ((flags & MSG_TRUNC) !== 0) {
        truncated = true;
        continue;
      }
      const start = slot * this.#slotSize;
      const length = this.#headers.view.getUint32(header + MMSGHDR_MSG_LEN, true);
      visit(this.#memory.view, start, start + length);
    }
    if (truncated) throw new SysError("recvmmsg", Errno.EMSGSIZE);
    return count;
  }
}
