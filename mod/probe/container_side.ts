import { sleep } from "../async/sleep.ts";
import type { IPv4 } from "../ip/mod.ts";
import { type Link, type Netlink, randomMac } from "../sys/mod.ts";
import { BridgePort } from "./bridge_port.ts";
import { ECHO_REPLY, type EchoMessage, TOKEN } from "./echo_message.ts";
import { decodeEchoPacket, decodeFrame, encodeFrame, type Station } from "./frame.ts";
import { PacketCapture } from "./packet_capture.ts";

/** Milliseconds between two reads. */
const POLL_MS = 3;
/** Milliseconds to wait for ARP replies. */
const ARP_MS = 60;
/** Copies of each request, in case one is lost. */
const COPIES = 2;

/** Options of {@linkcode ContainerSide.open}. */
export interface ContainerSideOptions {
  readonly netlink: Netlink;
  readonly bridge: Link;
  /** A container on the bridge, as the source of echo requests; `undefined` for a free candidate. */
  readonly container: IPv4 | undefined;
  /** Addresses from which to choose a free one. */
  readonly candidates: readonly IPv4[];
  /** Indices of the interfaces that receive packets from other hosts. */
  readonly overlay: readonly number[];
  /** Path of a network namespace. @default the calling thread's */
  readonly netns?: string | undefined;
  readonly signal: AbortSignal;
}

/** Outcome of an ICMP echo request. */
export interface SideEcho {
  /** The reply has reached the bridge. */
  readonly isAnswered: boolean;
  /** The reply has reached this host, whether or not it reached the bridge. */
  readonly isBack: boolean;
}

/**
 * The container's side of a bridge. Sends echo requests, which the host forwards like a container's, and
 * observes the replies on the bridge.
 *
 * With an existing container's address, replies go to the container, whose kernel ignores them. Otherwise it
 * uses a free address and, while it is open, answers ARP and echo requests for it, so that other hosts can
 * probe it.
 */
export class ContainerSide implements AsyncDisposable {
  /** Source address of the echo requests. */
  readonly address: IPv4;
  /** True when no container has the address. */
  readonly isStandIn: boolean;
  readonly #port: BridgePort;
  readonly #self: Station;
  readonly #gateway: Station;
  readonly #captures = new DisposableStack();
  readonly #bridge: PacketCapture;
  readonly #overlay: readonly PacketCapture[];
  readonly #stop = new AbortController();
  readonly #polling: Promise<void>;
  readonly #echo: Omit<EchoMessage, "sequence">;
  /** Sequence numbers of replies that have reached this host, and of those that have reached the bridge. */
  readonly #back = new Set<number>();
  readonly #answered = new Set<number>();
  #sequence = 0;

  /**
   * Attaches to the bridge.
   *
   * @returns `undefined` when all candidates are in use
   * @throws {SysError} as {@linkcode BridgePort}
   * @throws the signal's reason when it aborts
   */
  static async open(options: ContainerSideOptions): Promise<ContainerSide | undefined> {
    const port = new BridgePort(options.netlink, options.bridge, options.netns);
    try {
      const self = randomMac();
      const address = options.container ??
        await freeAddress(port, self, options.candidates, options.signal);
      if (address === undefined) {
        port[Symbol.dispose]();
        return undefined;
      }
      return new ContainerSide(port, { mac: self, address }, options);
    } catch (error) {
      port[Symbol.dispose]();
      throw error;
    }
  }

  private constructor(port: BridgePort, self: Station, options: ContainerSideOptions) {
    this.#port = port;
    this.#self = self;
    this.address = self.address;
    this.isStandIn = options.container === undefined;
    this.#gateway = { mac: port.bridgeMac, address: 0 };
    this.#echo = {
      isReply: false,
      identifier: crypto.getRandomValues(new Uint16Array(1))[0]!,
      token: crypto.getRandomValues(new Uint8Array(TOKEN)),
    };
    const replies = { type: ECHO_REPLY, identifier: this.#echo.identifier };
    const capture = (index: number) =>
      this.#captures.use(new PacketCapture(index, replies, options.netns));
    try {
      this.#bridge = capture(port.bridge.index);
      this.#overlay = options.overlay.map(capture);
    } catch (error) {
      this.#captures.dispose();
      throw error;
    }
    this.#polling = this.#poll();
  }

  /**
   * Sends an echo request to each address, and again without a reply.
   *
   * @param timeout milliseconds for both attempts
   * @returns the outcomes, in the order of the addresses
   * @throws the signal's reason when it aborts
   */
  async echo(
    addresses: readonly IPv4[],
    timeout: number,
    signal: AbortSignal,
  ): Promise<SideEcho[]> {
    const sequences: number[][] = addresses.map(() => []);
    const has = (of: Set<number>, i: number) => sequences[i]!.some((sequence) => of.has(sequence));
    for (let copy = 0; copy < COPIES; copy++) {
      const missing = addresses.keys().filter((i) => !has(this.#answered, i)).toArray();
      for (const i of missing) {
        const sequence = this.#sequence++ & 0xffff;
        sequences[i]!.push(sequence);
        this.#send(addresses[i]!, { ...this.#echo, sequence });
      }
      const end = performance.now() + timeout / COPIES;
      while (missing.some((i) => !has(this.#answered, i)) && performance.now() < end) {
        await sleep(POLL_MS, signal);
        signal.throwIfAborted();
      }
    }
    return addresses.map((_, i) => ({
      isAnswered: has(this.#answered, i),
      isBack: has(this.#back, i) || has(this.#answered, i),
    }));
  }

  /** Removes the port from the bridge. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#polling;
    this.#captures.dispose();
    this.#port[Symbol.dispose]();
  }

  #send(address: IPv4, echo: EchoMessage): void {
    const destination = { mac: this.#gateway.mac, address };
    this.#port.send(encodeFrame({ type: "echo", source: this.#self, destination, echo }));
  }

  async #poll(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      this.#port.receive((frame) => this.#takeFrame(frame));
      for (const overlay of this.#overlay) {
        overlay.receive((view, length) => {
          // Do not compare the destination: masquerading has not been undone here.
          const echo = decodeEchoPacket(view, 0, length)?.echo;
          if (echo !== undefined && this.#hasToken(echo)) this.#back.add(echo.sequence);
        });
      }
      this.#bridge.receive((view, length) => {
        const packet = decodeEchoPacket(view, 0, length);
        if (packet?.destination !== this.address || !this.#hasToken(packet.echo)) return;
        this.#answered.add(packet.echo.sequence);
      });
      await sleep(POLL_MS, this.#stop.signal);
    }
  }

  #hasToken({ token }: EchoMessage): boolean {
    return token.every((byte, at) => byte === this.#echo.token[at]);
  }

  /** Answers ARP and echo requests for the address if no container has it. */
  #takeFrame(bytes: Uint8Array<ArrayBuffer>): void {
    const frame = this.isStandIn ? decodeFrame(bytes) : undefined;
    const self = this.#self;
    if (frame?.type === "arp" && !frame.isReply && frame.target.address === self.address) {
      this.#port.send(encodeFrame({ ...frame, isReply: true, sender: self, target: frame.sender }));
    }
    if (
      frame?.type === "echo" && !frame.echo.isReply && frame.destination.mac === self.mac &&
      frame.destination.address === self.address
    ) {
      // A reply to longer data carries only the token, which is enough for echo requests of agents.
      const echo = { ...frame.echo, isReply: true };
      this.#port.send(encodeFrame({ ...frame, source: self, destination: frame.source, echo }));
    }
  }
}

/** Returns the first candidate without an answer to an ARP probe (RFC 5227). */
async function freeAddress(
  port: BridgePort,
  mac: string,
  candidates: readonly IPv4[],
  signal: AbortSignal,
): Promise<IPv4 | undefined> {
  const taken = new Set<IPv4>();
  for (let copy = 0; copy < COPIES; copy++) {
    for (const address of candidates) {
      port.send(encodeFrame({
        ...{ type: "arp", isReply: false, sender: { mac, address: 0 } },
        target: { mac: "00:00:00:00:00:00", address },
      }));
    }
    const end = performance.now() + ARP_MS;
    while (performance.now() < end) {
      await sleep(POLL_MS, signal);
      signal.throwIfAborted();
      port.receive((bytes) => {
        const frame = decodeFrame(bytes);
        if (frame?.type === "arp") taken.add(frame.sender.address);
      });
    }
  }
  return candidates.find((address) => !taken.has(address));
}
