/**
 * Waiting for descriptors, by poll(2), and ending such a wait from elsewhere, by eventfd(2).
 *
 * @module
 */
import { Arena, type Memory } from "./arena.ts";
import { Errno, SysError } from "./errno.ts";
import { closeDescriptor, errno, libc, unwrap } from "./libc.ts";
import { O_CLOEXEC, O_NONBLOCK } from "../linux_constants.ts";

/** poll.h. */
const POLLIN = 1;
/** struct pollfd: i32 fd, i16 events, i16 revents. */
const POLLFD_LENGTH = 8;
const REVENTS = 6;
/** EFD_CLOEXEC | EFD_NONBLOCK, which linux/eventfd.h defines so. */
const EFD_FLAGS = O_CLOEXEC | O_NONBLOCK;

/** Waits until one of its descriptors can be read, or has an error to report. */
export class Poller implements Disposable {
  readonly #arena = new Arena();
  readonly #pollfds: Memory;
  readonly #length: number;
  /**
   * A bigint, because V8 discards the compiled caller of a 64-bit parameter that gets a number
   * (deopt: not a BigInt) at each attempt: the slow call then costs 8 us of a wake-up.
   */
  readonly #count: bigint;

  /** @param descriptors at most 31; the poller does not close them */
  constructor(descriptors: readonly number[]) {
    this.#length = descriptors.length;
    this.#count = BigInt(descriptors.length);
    this.#pollfds = this.#arena.allocate(descriptors.length * POLLFD_LENGTH);
    for (const [index, fd] of descriptors.entries()) {
      this.#pollfds.view.setInt32(index * POLLFD_LENGTH, fd, true);
      this.#pollfds.view.setInt16(index * POLLFD_LENGTH + 4, POLLIN, true);
    }
  }

  /**
   * Blocks this thread until a descriptor is ready or the time has passed. A signal starts the wait again.
   *
   * @param timeoutMs -1 waits without end
   * @returns bit `i` for the i-th descriptor, errors (POLLERR, POLLHUP, POLLNVAL) included, which a read
   * then reports; 0 after the time
   * @throws {SysError}
   */
  wait(timeoutMs: number): number {
    while (libc().poll(this.#pollfds.bytes, this.#count, timeoutMs) < 0) {
      const number = errno();
      if (number !== Errno.EINTR) throw new SysError("poll", number);
    }
    const { view } = this.#pollfds;
    let ready = 0;
    for (let index = 0; index < this.#length; index++) {
      if (view.getInt16(index * POLLFD_LENGTH + REVENTS, true) !== 0) ready |= 1 << index;
    }
    return ready;
  }

  /**
   * Waits on another thread, without end. May return early (after a signal): callers read in any case,
   * and wait again.
   *
   * @throws {SysError}
   */
  async waitAsync(): Promise<void> {
    const ready = await libc().poll_async(this.#pollfds.pointer, this.#count, -1);
    // The errno of that thread is out of reach. The same call fails here in the same way.
    if (ready === -1) this.wait(0);
  }

  /** Frees the memory; allowed only while nobody waits. */
  [Symbol.dispose](): void {
    this.#arena.close();
  }
}

/** An eventfd(2): a descriptor that can be read once {@linkcode EventFd.notify} was called. */
export class EventFd implements Disposable {
  readonly fd: number;
  /** The counter: 8 bytes in the host's byte order. */
  readonly #count = new BigUint64Array(new ArrayBuffer(8));

  /** @throws {SysError} EMFILE or ENFILE */
  constructor() {
    this.fd = unwrap("eventfd", libc().eventfd(0, EFD_FLAGS));
  }

  /** Makes the descriptor readable, and so ends a {@linkcode Poller}'s wait for it. */
  notify(): void {
    this.#count[0] = 1n;
    libc().write(this.fd, this.#count, 8);
  }

  /** Makes the descriptor unreadable again. */
  reset(): void {
    libc().read(this.fd, this.#count, 8);
  }

  [Symbol.dispose](): void {
    closeDescriptor(this.fd);
  }
}
