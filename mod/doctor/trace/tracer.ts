import { sleep } from "../../async/sleep.ts";
import {
  closeDescriptor,
  Errno,
  inNetworkNamespace,
  libc,
  NFT_HOOKS,
  NFT_TABLE_F_OWNER,
  type NftBaseChainSpec,
  type NftFamily,
  type NftHook,
  NftSocket,
  type NftTableName,
  type NftTraceEvent,
  NftTraceSocket,
  type PayloadMatch,
  SysError,
  unwrap,
  type Write,
  writeBaseChain,
  writeTable,
  writeTableDeletion,
  writeTraceRule,
} from "../../sys/mod.ts";
import { bracketName, concludeFate, type Fate } from "./fate.ts";
import { Injector, type KernelDrop } from "./injector.ts";
import { LegacyTrace, type LegacyTraceEvent } from "./legacy_trace.ts";
import {
  carrierMatch,
  ethernetFrame,
  type Headers,
  probeMatch,
  type ProbePacket,
  readHeaders,
  replyMatch,
  writeProbe,
} from "./packet.ts";

/** How a probe comes into being. */
export type Entry =
  /** An interface receives it, with these hardware addresses (which a TUN device has none of). */
  | {
    readonly type: "receive";
    readonly name: string;
    readonly index: number;
    readonly to: Uint8Array;
    readonly from: Uint8Array;
  }
  /** This host sends it itself. */
  | { readonly type: "send" };

/** A probe to be traced. */
export interface TraceRequest {
  readonly packet: Omit<ProbePacket, "id" | "sourcePort">;
  readonly entry: Entry;
  /** The tunnel that carries it to another host, to follow the datagram with it in. @default none */
  readonly carrier?: { readonly port: number; readonly headers: number };
}

/** What became of a probe. */
export interface TraceResult {
  readonly packet: ProbePacket;
  /** `undefined`: nothing was seen of it. */
  readonly fate: Fate | undefined;
  /** Of the answer that it was given here, if it was. */
  readonly reply: Fate | undefined;
  /** Of the datagram that carried it, if one did. */
  readonly carrier: Fate | undefined;
  /** What could not be looked at, and why. */
  readonly blind: readonly string[];
}

/** Options of {@linkcode PacketTracer}. */
export interface PacketTracerOptions {
  /** Path of a network namespace. @default the thread's own */
  readonly netns?: string | undefined;
  readonly signal: AbortSignal;
}

/** Tables of traces begin with this; the process' number follows. */
const TABLE_PREFIX = "flanneld-trace-";
/** Before conntrack (-200), raw (-300) and defragmentation (-400), and after everything of others. */
const PRIORITY = { start: -1000, end: 1_000_000 } as const;
const SIDES = ["start", "end"] as const;
/** Chain of the families that see a packet before IP does. */
const EARLY = "early-start";
const FAMILIES = ["ip", "bridge", "netdev"] as const;

/** Milliseconds between looks for more of a trace. */
const POLL = 5;
/** Milliseconds after which a trace that shows nothing more is over. */
const QUIET = { passed: 60, dropped: 15 } as const;
/** Milliseconds that a probe may take in all. */
const LIMIT = 400;

const AF_INET = 2;
/** SOCK_RAW | SOCK_CLOEXEC, x86-64 and arm64. */
const SOCK_RAW_CLOEXEC = 3 | 0o2000000;
/** Sends packets with their IP header (raw(7)). */
const IPPROTO_RAW = 255;

/**
 * Sends probes through the host's real rules and reads what the kernel says became of them.
 *
 * A table of our own has the only rules: they set `meta nftrace` on the probe, on the answer to it and
 * on the datagram that carries it, and its chains stand before and after all others at each hook, so that
 * a trace shows where a packet was last, whatever dropped it. The kernel removes the table when the
 * process ends, however it ends (Linux 5.12); before, the next probe does what a kill has left.
 */
export class PacketTracer implements AsyncDisposable {
  readonly #netns: string | undefined;
  readonly #signal: AbortSignal;
  readonly #stack = new AsyncDisposableStack();
  readonly #nft: NftSocket;
  readonly #traces: NftTraceSocket;
  readonly #injector: Injector;
  readonly #table: NftTableName = { family: "ip", table: `${TABLE_PREFIX}${Deno.pid}` };
  readonly #made: NftTableName[] = [];
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
      this.#nft = this.#stack.use(new NftSocket({ netns }));
      this.#traces = this.#stack.use(new NftTraceSocket({ netns }));
      this.#removeStale();
    } catch (error) {
      // Nothing in it takes time yet.
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
      this.#install(packet, request);
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
          this.#table.table,
        );
      return {
        ...{ packet, fate: conclude("probe", drop), reply: conclude("reply") },
        ...{ carrier: conclude("carrier"), blind: this.#blind },
      };
    } finally {
      for (const table of this.#made.splice(0)) this.#remove(table);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }

  #receive({ index, to, from }: Entry & { type: "receive" }, packet: ProbePacket): void {
    this.#injector.receive(index, ethernetFrame(writeProbe(packet), { to, from }));
  }

  /** @returns what send(2) said when the packet did not get on its way */
  #send(packet: ProbePacket): KernelDrop | undefined {
    const socket = inNetworkNamespace(
      this.#netns,
      () => unwrap("socket", libc().socket(AF_INET, SOCK_RAW_CLOEXEC, IPPROTO_RAW)),
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
      // EPERM is netfilter's drop, which the trace knows better.
      if (!(error instanceof SysError)) throw error;
      return error.errno === Errno.EPERM ? undefined : { reason: error.code };
    } finally {
      closeDescriptor(socket);
    }
  }

  /**
   * Makes the tables. The one of family ip says where the packet was; the others only make rules known that
   * it meets before, where the kernel has these families.
   */
  #install(packet: ProbePacket, { entry, carrier }: TraceRequest): void {
    const { table } = this.#table;
    const inet = NFT_HOOKS.flatMap((hook) =>
      SIDES.map((side) => ({ name: bracketName(hook, side), hook, priority: PRIORITY[side] }))
    );
    this.#make(this.#table, inet, [
      ["prerouting", probeMatch(packet)],
      ["output", probeMatch(packet)],
      ["prerouting", replyMatch(packet)],
      ["output", replyMatch(packet)],
      ...(carrier === undefined ? [] : [["output", carrierMatch(packet, carrier)] as const]),
    ]);
    if (entry.type !== "receive") return;
    const early = { name: EARLY, priority: PRIORITY.start };
    for (
      const [family, chain] of [
        ["bridge", { ...early, hook: "prerouting" }],
        ["netdev", { ...early, hook: "ingress", device: entry.name }],
      ] as const
    ) {
      try {
        this.#make({ family, table }, [chain], [[undefined, probeMatch(packet)]]);
      } catch (error) {
        if (!(error instanceof SysError)) throw error;
      }
    }
  }

  #make(
    table: NftTableName,
    chains: readonly NftBaseChainSpec[],
    rules: readonly (readonly [hook: NftHook | undefined, matches: readonly PayloadMatch[]])[],
  ): void {
    const apply = (tableFlags: number) =>
      this.#nft.apply(`tracing table of family ${table.family}`, [
        (writer, flags, sequence) => writeTable(writer, flags, sequence, table, tableFlags),
        ...chains.map((chain): Write => (writer, flags, sequence) =>
          writeBaseChain(writer, flags, sequence, table, chain)
        ),
        ...rules.map(([hook, matches]): Write => (writer, flags, sequence) => {
          const chain = hook === undefined ? EARLY : bracketName(hook, "start");
          writeTraceRule(writer, flags, sequence, table, chain, matches);
        }),
      ]);
    try {
      apply(NFT_TABLE_F_OWNER);
    } catch (error) {
      // Before Linux 5.12 a table has no owner.
      const unknown: number[] = [Errno.EINVAL, Errno.EOPNOTSUPP];
      if (!(error instanceof SysError) || !unknown.includes(error.errno)) throw error;
      apply(0);
    }
    this.#made.push(table);
  }

  #remove(table: NftTableName): void {
    try {
      this.#nft.apply("NFT_MSG_DELTABLE", [
        (writer, flags, sequence) => writeTableDeletion(writer, flags, sequence, table),
      ]);
    } catch (error) {
      // Another program may have flushed all tables.
      if (!(error instanceof SysError) || error.errno !== Errno.ENOENT) throw error;
    }
  }

  /** Removes tables of processes that are gone, which only kernels without owners of tables keep. */
  #removeStale(): void {
    for (const family of FAMILIES) {
      for (const { name, flags } of this.#tablesOf(family)) {
        if (!name.startsWith(TABLE_PREFIX) || (flags & NFT_TABLE_F_OWNER) !== 0) continue;
        const pid = name.slice(TABLE_PREFIX.length);
        if (pid === String(Deno.pid) || !isAlive(pid)) this.#remove({ family, table: name });
      }
    }
  }

  #tablesOf(family: NftFamily) {
    try {
      return this.#nft.tables(family);
    } catch (error) {
      // A kernel may be without the families bridge and netdev.
      if (family === "ip" || !(error instanceof SysError)) throw error;
      return [];
    }
  }

  /** Collects what is seen until nothing more comes. */
  async #watch(packet: ProbePacket) {
    const seen = {
      nft: { probe: [], reply: [], carrier: [] } as Record<Kind, NftTraceEvent[]>,
      legacy: { probe: [], reply: [], carrier: [] } as Record<Kind, LegacyTraceEvent[]>,
    };
    const kinds = new Map<number, Kind>();
    const kindOf = (event: NftTraceEvent): Kind | undefined => {
      const headers = event.network && readHeaders(event.network);
      const isFirst = event.table === this.#table.table && event.handle !== undefined;
      const kind = headers && kindOfHeaders(headers, packet);
      // What one of our rules matched, and is neither of the others, is the carrier.
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

function isAlive(pid: string): boolean {
  try {
    Deno.statSync(`/proc/${pid}`);
    return true;
  } catch {
    return false;
  }
}
