import { Arena, type Memory } from "../ffi/arena.ts";
import { Errno, SysError } from "../ffi/errno.ts";
import { closeDescriptor } from "../ffi/libc.ts";
import { EventFd, Poller } from "../ffi/poller.ts";
import { MessageCursor } from "./wire/message.ts";
import { giveReceiveMemory, RECEIVE_MEMORY, takeReceiveMemory } from "./wire/receive_memory.ts";
import { ReceiveVector } from "./wire/receive_vector.ts";
import { setReceiveBuffer } from "./wire/socket.ts";

/**
 * Bytes for one event, which is a datagram of its own: 100 bytes for a route, 2 KiB for a link with all its
 * attributes.
 */
const SLOT_SIZE = 4096;

/** A flood is passed on in parts, so that its events need not all be in memory. */
const EVENTS_PER_PART = 4096;

/** Options of {@linkcode Subscription}. */
export interface SubscriptionOptions<T> {
  /** A netlink socket bound to multicast groups; closed with the subscription. */
  readonly socket: number;
  /** Ends the iteration, at once and without an error. */
  readonly signal: AbortSignal;
  /** Bytes of kernel memory that may queue, before the kernel doubles it. */
  readonly receiveBuffer: number;
  /** Reads a message; `undefined` for what is of no use. */
  readonly read: (message: MessageCursor) => T | undefined;
  /** Stands for events that were lost. */
  readonly lost: T;
}

/**
 * Receives the kernel's multicasts on a socket. It listens from the constructor on, and waits in one poll(2) on
 * another thread. It must be iterated, or its signal aborted, to close its descriptors.
 */
export class Subscription<T> {
  readonly #options: SubscriptionOptions<T>;
  readonly #signal: AbortSignal;
  readonly #socket: number;
  readonly #wakeup: EventFd;
  readonly #poller: Poller;
  readonly #arena = new Arena();
  readonly #memory: Memory;
  readonly #vector: ReceiveVector;
  readonly #cursor = new MessageCursor();
  #iterated = false;
  #closed = false;

  /** @throws {SysError} when the kernel refuses; the socket is closed then */
  constructor(options: SubscriptionOptions<T>) {
    this.#options = options;
    this.#signal = options.signal;
    this.#socket = options.socket;
    try {
      setReceiveBuffer(this.#socket, options.receiveBuffer);
      this.#wakeup = new EventFd();
    } catch (error) {
      closeDescriptor(this.#socket);
      this.#arena.close();
      throw error;
    }
    this.#memory = takeReceiveMemory();
    this.#vector = new ReceiveVector(this.#arena, this.#memory, RECEIVE_MEMORY / SLOT_SIZE);
    this.#poller = new Poller([this.#socket, this.#wakeup.fd]);
    this.#signal.addEventListener("abort", this.#abort, { once: true });
    if (this.#signal.aborted) this.#abort();
  }

  readonly #abort = () => {
    // While a poll is under way its end decides when the descriptors may be closed.
    if (this.#iterated) this.#wakeup.notify();
    else this.#close();
  };

  /**
   * Yields multicast events, in groups of those that were queued. Can be called once.
   *
   * @throws {TypeError} when called again
   */
  async *events(): AsyncGenerator<T[], void, undefined> {
    if (this.#iterated) throw new TypeError("a monitor can be iterated once");
    if (this.#closed) return;
    this.#iterated = true;
    try {
      while (!this.#signal.aborted) {
        const events = this.#take();
        if (events.length > 0) yield events;
        else await this.#poller.waitAsync();
      }
    } finally {
      this.#close();
    }
  }

  /** Everything that is queued, up to a limit. */
  #take(): T[] {
    const { read, lost } = this.#options;
    const events: T[] = [];
    const visit = (view: DataView, start: number, end: number) => {
      this.#cursor.enter(view, start, end);
      while (this.#cursor.next()) {
        const event = read(this.#cursor);
        if (event !== undefined) events.push(event);
      }
    };
    while (events.length < EVENTS_PER_PART) {
      try {
        if (this.#vector.receive(this.#socket, visit) === 0) break;
      } catch (error) {
        // An event longer than its slot is as lost as one that found no room.
        const isLoss = error instanceof SysError &&
          (error.errno === Errno.ENOBUFS || error.errno === Errno.EMSGSIZE);
        if (!isLoss) throw error;
        events.push(lost);
      }
    }
    return events;
  }

  #close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#signal.removeEventListener("abort", this.#abort);
    closeDescriptor(this.#socket);
    this.#wakeup[Symbol.dispose]();
    this.#poller[Symbol.dispose]();
    this.#arena.close();
    giveReceiveMemory(this.#memory);
  }
}
