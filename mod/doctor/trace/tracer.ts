import { sleep } from "../../async/sleep.ts";
import {
  closeDescriptor,
  Errno,
  inNetworkNamespace,
  libc,
  type NftTraceEvent,
  NftTraceSocket,
  SysError,
  unwrap,
} from "../../sys/mod.ts";
import { concludeFate, type Fate } from "./fate.ts";
import { Injector, type KernelDrop } from "./injector.ts";
import { LegacyTrace, type LegacyTraceEvent } from "./legacy_trace.ts";
import {
  ethernetFrame,
  type Headers,
  type ProbePacket,
  readHeaders,
  writeProbe,
} from "./packet.ts";
import { type Entry, type TraceRequest, TraceTables } from "./trace_tables.ts";
import { AF_INET, SOCK_CLOEXEC, SOCK_RAW } from "../../sys/linux_constants.ts";

/** A probe, its reply and its carrier, each with its end. */
export interface TraceResult {
  readonly packet: ProbePacket;
  /** `undefined` without events. */
  readonly fate: Fate | undefined;
  /** Of its reply from this host, if there was one. */
  readonly reply: Fate | undefined;
  /** Of the datagram that carried it, if there was one. */
  readonly carrier: Fate | undefined;
  /** Checks that could not be made, with the reason, one line each. */
  readonly blind: readonly string[];
}

/** Options of {@linkcode PacketTracer}. */
export interface PacketTracerOptions {
  /** Path of a network namespace. @default the thread's own */
  readonly netns?: string | undefined;
  readonly signal: AbortSignal;
}

/** Milliseconds between two reads of a trace. */
const POLL = 5;
/** Milliseconds without an event after which a trace is complete. */
const QUIET = { passed: 60, dropped: 15 } as const;
/** Milliseconds that a probe may take in all. */
const LIMIT = 400;

/** Sends packets with their IP header (raw(7)). */
const IPPROTO_RAW = 255;

/**
 * Sends probes through the host's real rules and reads the kernel's trace of them.
 *
 * {@linkcode TraceTables} traces the probe, its reply and the datagram that carries it. Its chains come before
 * and after all others at each hook, so that a trace shows the last place of a packet, whatever dropped it. The
 * kernel removes the tables when the process ends (Linux 5.12); before, the next probe removes them.
 */
export class PacketTracer implements AsyncDisposable {
  readonly #netns: string | undefined;
  readonly #signal: AbortSignal;
  readonly #stack = new AsyncDisposableStack();
  readonly #tables: TraceTables;
  readonly #traces: NftTraceSocket;
  readonly #injector: Injector;
  readonly #blind: string[] = [];
  #legacy: LegacyTrace | undefined;

  /**
   * @throws {SysError | BpfError} when packets cannot be traced here: not as root, a kernel without nf_tables
   * or BPF, or a seccomp filter
   */
  constructor({ netns, signal }: PacketTracerOptions) {
    this.#netns = netns;
    this.#signal = signal;
    try {
      this.#injector = this.#stack.use(new Injector(netns));
      this.#tables = this.#stack.use(new TraceTables(netns));
      this.#traces = this.#stack.use(new NftTraceSocket({ netns }));
      this.#tables.removeStale();
    } catch (error) {
      // No step here waits yet.
      this.#stack.disposeAsync();
      throw error;
    }
    if (this.#injector.withoutReasons !== undefined) {
      this.#blind.push(`drop reasons of the kernel: ${this.#injector.withoutReasons}`);
    }
    if (LegacyTrace.isNeeded(netns)) {
      try {
        this.#legacy = this.#stack.use(LegacyTrace.start(netns));
      } catch (error) {
        if (!(error instanceof SysError) && !(error instanceof Deno.errors.NotFound)) throw error;
        this.#blind.push(`rules of iptables-legacy: ${error.message}`);
      }
    }
  }

  /**
   * Sends one probe and follows it, its answer, and its carrier.
   *
   * @throws {SysError} when it cannot be sent: ENODEV or ENETDOWN for its interface
   */
  async trace(request: TraceRequest): Promise<TraceResult> {
    this.#signal.throwIfAborted();
    const [id, port] = crypto.getRandomValues(new Uint16Array(2)) as unknown as [number, number];
    // Ports from 32768 on are those of clients (ip_local_port_range).
    const packet = { ...request.packet, id: id || 1, sourcePort: port | 0x8000 };
    try {
      this.#tables.install(packet, request);
      this.#traces.receive();
      this.#legacy?.receive();
      const isReceived = request.entry.type === "receive";
      let refused: KernelDrop | undefined;
      if (isReceived) this.#receive(request.entry as Entry & { type: "receive" }, packet);
      else refused = this.#send(packet);
      const seen = await this.#watch(packet);
      const drop = isReceived ? this.#injector.drop() : refused;
      const conclude = (kind: Kind, drop?: KernelDrop) =>
        concludeFate(
          { nft: seen.nft[kind], legacy: seen.legacy[kind], drop },
          this.#tables.name,
        );
      return {
        ...{ packet, fate: conclude("probe", drop), reply: conclude("reply") },
        ...{ carrier: conclude("carrier"), blind: this.#blind },
      };
    } finally {
      this.#tables.remove();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }

  #receive({ index, to, from }: Entry & { type: "receive" }, packet: ProbePacket): void {
    this.#injector.receive(index, ethernetFrame(writeProbe(packet), { to, from }));
  }

  /** @returns the error of send(2); `undefined` when the packet was sent */
  #send(packet: ProbePacket): KernelDrop | undefined {
    const socket = inNetworkNamespace(
      this.#netns,
      () => unwrap("socket", libc().socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW)),
    );
    try {
      const address = new DataView(new ArrayBuffer(16));
      address.setUint16(0, AF_INET, true);
      address.setUint32(4, packet.destination);
      const bytes = writeProbe(packet);
      unwrap(
        "sendto",
        libc().sendto(
          ...[socket, bytes, bytes.length, 0, new Uint8Array(address.buffer), 16] as const,
        ),
      );
      return undefined;
    } catch (error) {
      // EPERM is netfilter's drop, which the trace describes better.
      if (!(error instanceof SysError)) throw error;
      return error.errno === Errno.EPERM ? undefined : { reason: error.code };
    } finally {
      closeDescriptor(socket);
    }
  }

  /** Collects events until no more come. */
  async #watch(packet: ProbePacket) {
    const seen = {
      nft: { probe: [], reply: [], carrier: [] } as Record<Kind, NftTraceEvent[]>,
      legacy: { probe: [], reply: [], carrier: [] } as Record<Kind, LegacyTraceEvent[]>,
    };
    const kinds = new Map<number, Kind>();
    const kindOf = (event: NftTraceEvent): Kind | undefined => {
      const headers = event.network && readHeaders(event.network);
      const isFirst = event.table === this.#tables.name && event.handle !== undefined;
      const kind = headers && kindOfHeaders(headers, packet);
      // A packet that a rule of the tracing table matched is the carrier when it is neither probe nor reply.
      if (kind !== undefined && (kind !== "carrier" || isFirst)) kinds.set(event.id, kind);
      return kinds.get(event.id);
    };
    const start = performance.now();
    let changed = start;
    for (;;) {
      const events = this.#traces.receive();
      for (const event of events) {
        const kind = kindOf(event);
        if (kind !== undefined) seen.nft[kind].push(event);
      }
      const legacy = this.#legacy?.receive() ?? [];
      for (const { headers, event } of legacy) {
        seen.legacy[kindOfHeaders(headers, packet)].push(event);
      }
      const now = performance.now();
      if (events.length + legacy.length > 0) changed = now;
      const isDropped = seen.nft.probe.some(({ verdict }) => verdict === "drop");
      if (now - changed > QUIET[isDropped ? "dropped" : "passed"] || now - start > LIMIT) break;
      await sleep(POLL, this.#signal);
      this.#signal.throwIfAborted();
    }
    return seen;
  }
}

/** The probe, the answer to it, or the datagram that carries it. */
type Kind = "probe" | "reply" | "carrier";

function kindOfHeaders(headers: Headers, { id, source, destination }: ProbePacket): Kind {
  if (headers.id === id) return "probe";
  const isReply = headers.source === destination && headers.destination === source;
  return isReply ? "reply" : "carrier";
}
