import { formatIPv4, type IPv4 } from "../ip/mod.ts";
import { Errno, SysError } from "../sys/mod.ts";
import {
  type EchoMessage,
  IPV4_HEADER,
  readEcho,
  SHORTEST_ECHO,
  skipIpHeader,
  TOKEN,
  writeEchoRequest,
} from "./echo_message.ts";
import type { EchoMark } from "./echo_filter.ts";
import { type Failure, failureOf } from "./outcome.ts";
import { TokenBucket } from "../async/token_bucket.ts";
import {
  ProbeSocket,
  type ProbeSocketOptions,
  type Received,
  type ReceivedError,
} from "./probe_socket.ts";

/** Packet size of ping(8): 56 bytes behind the ICMP header. */
const PING_SIZE = 84;
const MAX_SIZE = 65535;
/** Number of sequence numbers. */
const SEQUENCES = 0x10000;
/** Milliseconds until the next attempt when the send queue is full. */
const RETRY = 5;

/** Outcome of an echo request. */
export type EchoOutcome =
  /** @property rtt round-trip time in milliseconds, by the kernel's clock at either end */
  | { readonly type: "reply"; readonly rtt: number }
  | Failure;

/** Options of {@linkcode Prober.open}. */
export interface ProberOptions extends ProbeSocketOptions {
  /** Largest number of echo requests per second. @default 1000 */
  readonly rate?: number;
  /** Largest number of echo requests in a burst. @default 64 */
  readonly burst?: number;
}

/** Options of {@linkcode Prober.echo}. */
export interface EchoOptions {
  /** Packet size with the IP header, in bytes, from 36 to 65535. @default 84 */
  readonly size?: number;
  /** Set DF: a packet that is too large for the path fails instead of being fragmented. @default false */
  readonly dontFragment?: boolean;
  /** Milliseconds to wait for each reply, from when its request left. @default 1000 */
  readonly timeout?: number;
  readonly signal?: AbortSignal;
}

/** The part of {@linkcode Prober} that {@linkcode measurePathMtu} needs. */
export type Echo = Pick<Prober, "echo">;

interface Pending {
  readonly address: IPv4;
  readonly size: number;
  readonly dontFragment: boolean;
  readonly timeout: number;
  readonly finish: (outcome: EchoOutcome) => void;
  readonly fail: (error: unknown) => void;
  isDone: boolean;
  sequence?: number;
  timer?: ReturnType<typeof setTimeout>;
  /** Send time by the clock of the kernel's timestamps, and by a monotonic clock. */
  sent: { readonly real: number; readonly steady: number };
}

/**
 * Sends any number of ICMP echo requests over one socket and receives the replies. It waits in poll(2) on
 * another thread, only while replies may arrive; an idle prober costs nothing.
 *
 * A peer's kernel answers for its addresses, with or without an agent. Requests to an address of the peer's
 * subnet, and their replies, pass through the overlay.
 *
 * @example
 * ```ts ignore
 * await using prober = Prober.open();
 * const [outcome] = await prober.echo([parseIPv4("10.20.65.0")!]);
 * ```
 */
export class Prober implements AsyncDisposable {
  readonly #socket: ProbeSocket;
  readonly #bucket: TokenBucket;
  readonly #identifier: number;
  readonly #token: Uint8Array;
  readonly #queue: Pending[] = [];
  /** Requests without an outcome, by sequence number. */
  readonly #pending = new Map<number, Pending>();
  #sequence = 0;
  #paceTimer: ReturnType<typeof setTimeout> | undefined;
  #receiving: Promise<void> | undefined;
  #closed = false;

  /**
   * Opens the socket.
   *
   * @throws {SysError} EPERM or EACCES without CAP_NET_RAW and outside net.ipv4.ping_group_range
   */
  static open(options: ProberOptions = {}): Prober {
    const { rate = 1000, burst = 64 } = options;
    const mark = {
      identifier: crypto.getRandomValues(new Uint16Array(1))[0]!,
      token: crypto.getRandomValues(new Uint8Array(TOKEN)),
    };
    return new Prober(
      ProbeSocket.icmp(mark, options),
      new TokenBucket(rate, burst, performance.now()),
      mark,
    );
  }

  private constructor(socket: ProbeSocket, bucket: TokenBucket, { identifier, token }: EchoMark) {
    this.#socket = socket;
    this.#bucket = bucket;
    this.#identifier = identifier;
    this.#token = token;
  }

  /**
   * Sends an echo request to each address.
   *
   * @returns the outcomes in the order of `addresses`
   * @throws the signal's reason when it aborts
   * @throws {RangeError} for an invalid size
   * @throws {TypeError} when the prober is closed
   * @throws {SysError} when poll(2) fails, with ENOMEM or EINVAL
   */
  async echo(addresses: readonly IPv4[], options: EchoOptions = {}): Promise<EchoOutcome[]> {
    const { size = PING_SIZE, dontFragment = false, timeout = 1000, signal } = options;
    if (!Number.isInteger(size) || size < SHORTEST_ECHO || size > MAX_SIZE) {
      throw new RangeError(
        `an ICMP echo request has from ${SHORTEST_ECHO} to ${MAX_SIZE} bytes, not ${size}`,
      );
    }
    if (this.#closed) throw new TypeError("the prober is closed");
    signal?.throwIfAborted();
    const batch: Pending[] = [];
    const outcomes = addresses.map((address) =>
      new Promise<EchoOutcome>((finish, fail) => {
        batch.push({
          ...{ address, size, dontFragment, timeout, finish, fail },
          ...{ isDone: false, sent: { real: 0, steady: 0 } },
        });
      })
    );
    const abort = () => batch.forEach((one) => this.#finish(one, { type: "timeout" }));
    signal?.addEventListener("abort", abort);
    try {
      this.#queue.push(...batch);
      this.#send();
      return await Promise.all(outcomes);
    } finally {
      signal?.removeEventListener("abort", abort);
      signal?.throwIfAborted();
    }
  }

  /** Ends pending requests as timed out, and closes the socket. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    for (const one of [...this.#queue, ...this.#pending.values()]) {
      this.#finish(one, { type: "timeout" });
    }
    clearTimeout(this.#paceTimer);
    this.#socket.wake();
    await this.#receiving;
    this.#socket.close();
  }

  /** Sends queued requests as far as the rate allows, and plans the rest. */
  #send(): void {
    clearTimeout(this.#paceTimer);
    let sent = 0;
    for (; sent < this.#queue.length; sent++) {
      const one = this.#queue[sent]!;
      if (one.isDone) continue;
      const wait = this.#pending.size >= SEQUENCES / 2
        ? RETRY
        : this.#bucket.take(performance.now()) || this.#transmit(one);
      if (wait > 0) {
        this.#paceTimer = setTimeout(() => this.#send(), wait);
        break;
      }
    }
    this.#queue.splice(0, sent);
    if (this.#pending.size > 0) this.#receiving ??= this.#receive();
  }

  /** @returns milliseconds until the next attempt; 0 when the request was sent or has failed */
  #transmit(one: Pending): number {
    const { address, size, dontFragment, timeout } = one;
    while (this.#pending.has(this.#sequence)) this.#sequence = (this.#sequence + 1) % SEQUENCES;
    const sequence = this.#sequence;
    this.#sequence = (sequence + 1) % SEQUENCES;
    const length = size - IPV4_HEADER;
    writeEchoRequest(this.#socket.outgoing, length, {
      ...{ identifier: this.#identifier, sequence, token: this.#token },
    });
    this.#socket.setDontFragment(dontFragment);
    // Register before sending: over loopback the reply arrives before sendto(2) returns.
    one.sequence = sequence;
    this.#pending.set(sequence, one);
    one.sent = { real: this.#socket.now(), steady: performance.now() };
    let error = this.#socket.send(length, address);
    if (error !== 0 && error !== Errno.EMSGSIZE) {
      // The error may belong to an earlier packet; a second attempt then succeeds.
      this.#take();
      error = this.#socket.send(length, address);
    }
    if (error === Errno.EAGAIN || error === Errno.ENOBUFS) {
      this.#pending.delete(sequence);
      return RETRY;
    }
    if (error !== 0) {
      let mtu = 0;
      this.#take((local) => mtu = local);
      this.#finish(
        one,
        error === Errno.EMSGSIZE ? { type: "too-big", mtu, by: undefined } : {
          type: "not-sent",
          error: new SysError("sendto", error, { subject: formatIPv4(address) }),
        },
      );
    } else if (!one.isDone) {
      one.timer = setTimeout(() => this.#finish(one, { type: "timeout" }), timeout);
    }
    return 0;
  }

  /** Receives until no request is pending. Never rejects; an error rejects the pending requests instead. */
  async #receive(): Promise<void> {
    try {
      while (this.#pending.size > 0 && !this.#closed) {
        await this.#socket.wait();
        this.#take();
      }
    } catch (error) {
      for (const one of [...this.#pending.values()]) {
        if (this.#remove(one)) one.fail(error);
      }
    } finally {
      this.#receiving = undefined;
    }
  }

  /** @param onTooBig called with the device's MTU when a packet was larger */
  #take(onTooBig: (mtu: number) => void = () => {}): void {
    this.#socket.receive(
      (message) => this.#takeReply(message),
      (error) => {
        // An error of this host's own kernel quotes no packet.
        const failure = failureOf(error);
        if (failure.type === "too-big" && failure.by === undefined) onTooBig(failure.mtu);
        else this.#takeError(error, failure);
      },
    );
  }

  #takeReply({ view, length, from, at }: Received): void {
    const start = this.#socket.kind === "raw" ? skipIpHeader(view, 0, length) : 0;
    const echo = start === undefined ? undefined : readEcho(view, start, length);
    const one = echo?.isReply ? this.#find(echo, from) : undefined;
    if (one === undefined) return;
    const elapsed = performance.now() - one.sent.steady;
    const measured = (at ?? NaN) - one.sent.real;
    // The host's clock may have been set meanwhile.
    const rtt = measured >= 0 && measured <= elapsed + 1 ? measured : elapsed;
    this.#finish(one, { type: "reply", rtt });
  }

  #takeError({ view, length, to }: ReceivedError, failure: Failure): void {
    const echo = readEcho(view, 0, length);
    const one = echo === undefined || echo.isReply ? undefined : this.#find(echo, to);
    if (one !== undefined) this.#finish(one, failure);
  }

  /** Returns the request of a message. An ICMP error need not quote the token. */
  #find({ identifier, sequence, token, isReply }: EchoMessage, address: IPv4): Pending | undefined {
    const one = this.#pending.get(sequence);
    if (one === undefined || one.address !== address) return undefined;
    if (this.#socket.kind === "raw" && identifier !== this.#identifier) return undefined;
    const isWhole = token.length === TOKEN;
    if (isReply && !isWhole) return undefined;
    return isWhole && token.some((byte, index) => byte !== this.#token[index]) ? undefined : one;
  }

  #finish(one: Pending, outcome: EchoOutcome): void {
    if (this.#remove(one)) one.finish(outcome);
  }

  /** Removes a pending request. @returns false when it was not pending */
  #remove(one: Pending): boolean {
    if (one.isDone) return false;
    one.isDone = true;
    clearTimeout(one.timer);
    if (one.sequence !== undefined && this.#pending.get(one.sequence) === one) {
      this.#pending.delete(one.sequence);
      if (this.#pending.size === 0 && this.#receiving !== undefined) this.#socket.wake();
    }
    return true;
  }
}
