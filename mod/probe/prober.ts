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
import { TokenBucket } from "./token_bucket.ts";
import {
  ProbeSocket,
  type ProbeSocketOptions,
  type Received,
  type ReceivedError,
} from "./probe_socket.ts";

/** As ping(8) sends: 56 bytes behind the ICMP header. */
const PING_SIZE = 84;
const MAX_SIZE = 65535;
/** Sequence numbers there are. */
const SEQUENCES = 0x10000;
/** How soon a full send queue is tried again, in milliseconds. */
const RETRY = 5;

/** What became of an echo. */
export type EchoOutcome =
  /** @property rtt round-trip time in milliseconds, by the kernel's clock at either end */
  | { readonly type: "reply"; readonly rtt: number }
  | Failure;

/** Options of {@linkcode Prober.open}. */
export interface ProberOptions extends ProbeSocketOptions {
  /** Echoes a second, at most. @default 1000 */
  readonly rate?: number;
  /** Echoes that may leave at once. @default 64 */
  readonly burst?: number;
}

/** Options of {@linkcode Prober.echo}. */
export interface EchoOptions {
  /** Of the packet with its IP header, in bytes, from 36 to 65535. @default 84 */
  readonly size?: number;
  /** Send with DF: what does not fit somewhere is an outcome, not fragments. @default false */
  readonly dontFragment?: boolean;
  /** Milliseconds to wait for each reply, from when its request left. @default 1000 */
  readonly timeout?: number;
  readonly signal?: AbortSignal;
}

/** Sends echoes, and nothing else: what {@linkcode measurePathMtu} needs of a {@linkcode Prober}. */
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
  /** By the clock that the kernel stamps with, and by one that never steps. */
  sent: { readonly real: number; readonly steady: number };
}

/**
 * Sends ICMP echoes, any number at a time over one socket, and takes their replies. It waits in
 * poll(2) on another thread, and only while a reply may come; an idle prober costs nothing.
 *
 * A peer's kernel answers for the addresses it owns, whether an agent runs there or not, and whose:
 * sent to an address of its subnet, an echo and its reply go through the overlay both ways.
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
  /** Those that were sent, by sequence number. */
  readonly #pending = new Map<number, Pending>();
  #sequence = 0;
  #paceTimer: ReturnType<typeof setTimeout> | undefined;
  #receiving: Promise<void> | undefined;
  #closed = false;

  /**
   * Opens the socket.
   *
   * @throws {SysError} EPERM or EACCES: it takes root (CAP_NET_RAW), or a group that
   * net.ipv4.ping_group_range names
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
   * Sends an echo to each address.
   *
   * @returns what became of each, in the order of `addresses`
   * @throws the signal's reason when it aborts
   * @throws {RangeError} for a size that cannot be sent
   * @throws {TypeError} when the prober is closed
   * @throws {SysError} when replies cannot be waited for: poll(2) fails, with ENOMEM or EINVAL
   */
  async echo(addresses: readonly IPv4[], options: EchoOptions = {}): Promise<EchoOutcome[]> {
    const { size = PING_SIZE, dontFragment = false, timeout = 1000, signal } = options;
    if (!Number.isInteger(size) || size < SHORTEST_ECHO || size > MAX_SIZE) {
      throw new RangeError(`an echo has from ${SHORTEST_ECHO} to ${MAX_SIZE} bytes, not ${size}`);
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

  /** Ends what is under way as though no reply had come, and closes the socket. */
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

  /** Sends of the queue what may leave now, and comes back for the rest. */
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

  /** @returns milliseconds to wait before it is tried again; 0 when it is sent, or cannot be */
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
    // Known before it leaves: over loopback the reply is there when sendto(2) returns.
    one.sequence = sequence;
    this.#pending.set(sequence, one);
    one.sent = { real: this.#socket.now(), steady: performance.now() };
    let error = this.#socket.send(length, address);
    if (error !== 0 && error !== Errno.EMSGSIZE) {
      // It may be what an earlier packet met, which a second attempt cannot meet again.
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

  /** Never rejects: nobody may be there to hear it. Whoever waits for a reply is told. */
  async #receive(): Promise<void> {
    try {
      while (this.#pending.size > 0 && !this.#closed) {
        await this.#socket.wait();
        this.#take();
      }
    } catch (error) {
      for (const one of [...this.#pending.values()]) {
        if (this.#settle(one)) one.fail(error);
      }
    } finally {
      this.#receiving = undefined;
    }
  }

  /** @param onTooBig told the MTU of the device, when a packet was too big for it */
  #take(onTooBig: (mtu: number) => void = () => {}): void {
    this.#socket.receive(
      (message) => this.#takeReply(message),
      (error) => {
        // An error of our own kernel quotes nothing.
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

  /** Whose echo it is. An ICMP error need not quote the token. */
  #find({ identifier, sequence, token, isReply }: EchoMessage, address: IPv4): Pending | undefined {
    const one = this.#pending.get(sequence);
    if (one === undefined || one.address !== address) return undefined;
    if (this.#socket.kind === "raw" && identifier !== this.#identifier) return undefined;
    const isWhole = token.length === TOKEN;
    if (isReply && !isWhole) return undefined;
    return isWhole && token.some((byte, index) => byte !== this.#token[index]) ? undefined : one;
  }

  #finish(one: Pending, outcome: EchoOutcome): void {
    if (this.#settle(one)) one.finish(outcome);
  }

  /** Waits for it no longer. @returns false when nobody did */
  #settle(one: Pending): boolean {
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
