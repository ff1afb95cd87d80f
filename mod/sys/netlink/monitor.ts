import { Arena, type Memory } from "../arena.ts";
import { Errno, SysError } from "../errno.ts";
import { closeDescriptor, libc, unwrap } from "../libc.ts";
import { readKernelEvent } from "./event.ts";
import { MessageCursor } from "./message.ts";
import { ReceiveVector } from "./receive_vector.ts";
import { openSocket, setReceiveBuffer } from "./socket.ts";
import type { KernelEvent } from "./types.ts";

/** RTNLGRP_* of linux/rtnetlink.h. `neighbour` tells FDB entries too. */
const GROUPS = { link: 1, neighbour: 3, address: 5, route: 7 };

/** What to listen to; addresses and routes are IPv4's. */
export type MonitorGroup = keyof typeof GROUPS;

/** How to listen. */
export interface MonitorOptions {
  /**
   * Path of a network namespace.
   *
   * @default the calling thread's
   */
  readonly netns?: string | undefined;
  /** Ends the iteration, at once and without an error. */
  readonly signal: AbortSignal;
  /**
   * How many bytes of kernel memory events may take up before they are lost; one takes about 1 KiB. The
   * kernel doubles it, and without CAP_NET_ADMIN clamps it to net.core.rmem_max.
   *
   * @default 16 MiB, some 30,000 events
   */
  readonly receiveBuffer?: number;
}

const RECEIVE_BUFFER = 16 * 1024 * 1024;

/**
 * One event is a datagram of its own: 100 bytes for a route, 2 KiB for a link with all it tells.
 */
const SLOTS = 64;
const SLOT_SIZE = 4096;

/** A flood is handed on in parts, so that its events need not all be in memory. */
const EVENTS_PER_PART = 4096;

const POLLIN = 1;
/** struct pollfd: i32 fd, i16 events, i16 revents. */
const POLLFD_LENGTH = 8;
/** EFD_CLOEXEC | EFD_NONBLOCK, x86-64 and arm64. */
const EFD_FLAGS = 0o2000000 | 0o4000;

/**
 * Tells what changes in the kernel's tables, whoever changes it, the caller included.
 *
 * It listens from the call on, not from the first iteration: subscribe, then dump, then iterate, and nothing
 * falls between. It waits in one poll(2) on another thread, for as long as nothing happens: no timer, no
 * wake-ups. It must be iterated, or its signal aborted, to give its descriptors back.
 *
 * Deleting a device, or taking it down, removes its routes *without* a word from the kernel: the
 * `link` event stands for them.
 *
 * @param groups what to listen to
 * @returns events in the kernel's order, in groups of what was queued; `overrun` where some were lost
 * @throws {SysError} when the namespace or the socket cannot be opened
 *
 * @example
 * ```ts ignore
 * import { monitor } from "./monitor.ts";
 * const signal = AbortSignal.timeout(60_000);
 * for await (const events of monitor(["link", "route"], { signal })) console.log(events);
 * ```
 */
export function monitor(
  groups: readonly MonitorGroup[],
  options: MonitorOptions,
): AsyncIterable<KernelEvent[]> {
  const subscription = new Subscription(groups, options);
  return { [Symbol.asyncIterator]: () => subscription.events() };
}

class Subscription {
  readonly #signal: AbortSignal;
  readonly #socket: number;
  readonly #wakeup: number;
  readonly #arena = new Arena();
  readonly #vector: ReceiveVector;
  readonly #pollfds: Memory;
  readonly #count: Memory;
  readonly #cursor = new MessageCursor();
  #iterated = false;
  #closed = false;

  constructor(groups: readonly MonitorGroup[], options: MonitorOptions) {
    this.#signal = options.signal;
    const mask = groups.reduce((mask, group) => mask | (1 << (GROUPS[group] - 1)), 0);
    this.#socket = openSocket(options.netns, mask);
    try {
      setReceiveBuffer(this.#socket, options.receiveBuffer ?? RECEIVE_BUFFER);
      this.#wakeup = unwrap("eventfd", libc().eventfd(0, EFD_FLAGS));
    } catch (error) {
      closeDescriptor(this.#socket);
      this.#arena.close();
      throw error;
    }
    const memory = this.#arena.allocate(SLOTS * SLOT_SIZE);
    this.#vector = new ReceiveVector(this.#arena, memory, SLOTS);
    this.#pollfds = this.#arena.allocate(2 * POLLFD_LENGTH);
    [this.#socket, this.#wakeup].forEach((fd, index) => {
      this.#pollfds.view.setInt32(index * POLLFD_LENGTH, fd, true);
      this.#pollfds.view.setInt16(index * POLLFD_LENGTH + 4, POLLIN, true);
    });
    this.#count = this.#arena.allocate(8);
    this.#count.view.setBigUint64(0, 1n, true);
    this.#signal.addEventListener("abort", this.#abort, { once: true });
    if (this.#signal.aborted) this.#abort();
  }

  readonly #abort = () => {
    // While a poll is under way only it may say when the descriptors are free.
    if (this.#iterated) libc().write(this.#wakeup, this.#count.bytes, 8);
    else this.#close();
  };

  async *events(): AsyncGenerator<KernelEvent[], void, undefined> {
    if (this.#iterated) throw new TypeError("a monitor can be iterated once");
    if (this.#closed) return;
    this.#iterated = true;
    try {
      while (!this.#signal.aborted) {
        const events = this.#take();
        if (events.length > 0) yield events;
        else await this.#wait();
      }
    } finally {
      this.#close();
    }
  }

  /** Everything that is queued, up to a limit. */
  #take(): KernelEvent[] {
    const events: KernelEvent[] = [];
    const visit = (view: DataView, start: number, end: number) => {
      this.#cursor.enter(view, start, end);
      while (this.#cursor.next()) {
        const event = readKernelEvent(this.#cursor);
        if (event !== undefined) events.push(event);
      }
    };
    while (events.length < EVENTS_PER_PART) {
      try {
        if (this.#vector.receive(this.#socket, visit) === 0) break;
      } catch (error) {
        // An event longer than its slot is as lost as one that found no room.
        const lost = error instanceof SysError &&
          (error.errno === Errno.ENOBUFS || error.errno === Errno.EMSGSIZE);
        if (!lost) throw error;
        events.push({ type: "overrun" });
      }
    }
    return events;
  }

  async #wait(): Promise<void> {
    const ready = await libc().poll_async(this.#pollfds.pointer, 2, -1);
    // The other thread's errno is out of reach: ask again here. EINTR simply leads back here.
    if (ready === -1) unwrap("poll", libc().poll(this.#pollfds.bytes, 2, 0));
  }

  #close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#signal.removeEventListener("abort", this.#abort);
    closeDescriptor(this.#socket);
    closeDescriptor(this.#wakeup);
    this.#arena.close();
  }
}
