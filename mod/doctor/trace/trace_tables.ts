import {
  Errno,
  NFT_HOOKS,
  NFT_TABLE_F_OWNER,
  type NftBaseChainSpec,
  type NftFamily,
  type NftHook,
  NftSocket,
  type NftTableName,
  type PayloadMatch,
  SysError,
  type Write,
  writeBaseChain,
  writeTable,
  writeTableDeletion,
  writeTraceRule,
} from "../../sys/mod.ts";
import { bracketName } from "./fate.ts";
import { carrierMatch, probeMatch, type ProbePacket, replyMatch } from "./packet.ts";

/** Origin of a probe. */
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
  /** The tunnel that carries it to another host, to follow the datagram as well. @default none */
  readonly carrier?: { readonly port: number; readonly headers: number };
}

/** Tables of traces begin with this; the process' number follows. */
const TABLE_PREFIX = "flanneld-trace-";
/** Before conntrack (-200), raw (-300) and defragmentation (-400), and after all other chains. */
const PRIORITY = { start: -1000, end: 1_000_000 } as const;
const SIDES = ["start", "end"] as const;
/** Chain of the families that see a packet before IP does. */
const EARLY = "early-start";
const FAMILIES = ["ip", "bridge", "netdev"] as const;

/**
 * The tables of nf_tables that trace a probe. Their only rules set `meta nftrace` on the probe, on
 * the answer to it and on the datagram that carries it.
 */
export class TraceTables implements Disposable {
  /** Name of the tables, alike in each family. */
  readonly name = `${TABLE_PREFIX}${Deno.pid}`;
  readonly #nft: NftSocket;
  readonly #made: NftTableName[] = [];

  /**
   * @param netns path of a network namespace; `undefined` is the thread's own
   * @throws {SysError} EPROTONOSUPPORT when the kernel has no netfilter
   */
  constructor(netns: string | undefined) {
    this.#nft = new NftSocket({ netns });
  }

  /**
   * Makes the tables. The table of family ip shows the packet's place. The others show rules that the packet
   * passes before, where the kernel has these families.
   */
  install(packet: ProbePacket, { entry, carrier }: TraceRequest): void {
    const table = this.name;
    const inet = NFT_HOOKS.flatMap((hook) =>
      SIDES.map((side) => ({ name: bracketName(hook, side), hook, priority: PRIORITY[side] }))
    );
    this.#make({ family: "ip", table }, inet, [
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

  /** Removes what {@linkcode TraceTables.install} made. */
  remove(): void {
    for (const table of this.#made.splice(0)) this.#delete(table);
  }

  /** Closes the socket; tables that it owns go with it. */
  [Symbol.dispose](): void {
    this.#nft[Symbol.dispose]();
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

  #delete(table: NftTableName): void {
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
  removeStale(): void {
    for (const family of FAMILIES) {
      for (const { name, flags } of this.#tablesOf(family)) {
        if (!name.startsWith(TABLE_PREFIX) || (flags & NFT_TABLE_F_OWNER) !== 0) continue;
        const pid = name.slice(TABLE_PREFIX.length);
        if (pid === String(Deno.pid) || !isAlive(pid)) this.#delete({ family, table: name });
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
}

function isAlive(pid: string): boolean {
  try {
    Deno.statSync(`/proc/${pid}`);
    return true;
  } catch {
    return false;
  }
}
