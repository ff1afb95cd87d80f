import type { IPv4 } from "../../ip/mod.ts";
import type { NftFamily, NftHook, NftTraceEvent } from "../../sys/mod.ts";
import type { KernelDrop } from "./injector.ts";
import type { LegacyTraceEvent } from "./legacy_trace.ts";
import { type Headers, readHeaders } from "./packet.ts";

/** The rule, or a base chain's policy, that decided. */
export interface RulePlace {
  /** Which of the kernel's sets of rules; iptables-nft's are among nf_tables'. */
  readonly ruleset: "nftables" | "iptables-legacy";
  readonly family: NftFamily;
  readonly table: string;
  readonly chain: string;
  /** Of nf_tables; absent at a policy. */
  readonly handle?: bigint;
  /** In its chain, from 1, of iptables-legacy; absent at a policy. */
  readonly number?: number;
  /** Chains that led there, from the base chain on; the chain itself is the last. */
  readonly path: readonly string[];
}

/** Place of a packet at its last event. */
export type Stage = "entry" | "routing" | NftHook;

/** End of a packet's way through the host. */
export type Fate =
  | {
    readonly type: "passed";
    /** `input`: it reached this host's own sockets; `postrouting`: it left by an interface. */
    readonly to: "input" | "postrouting";
    /** Index of the interface that it left by. */
    readonly oif?: number;
    /** At the end: rules may have rewritten them. */
    readonly source: IPv4;
    readonly destination: IPv4;
    /** The rule that rewrote one of them, where it is known. */
    readonly rewrittenBy?: RulePlace;
    /** Where the kernel dropped it later: no neighbour, no socket. */
    readonly lost?: KernelDrop;
  }
  /** A rule or policy decided. `taken`: handed to a program or another part of the kernel (queue, stolen). */
  | {
    readonly type: "dropped" | "taken";
    readonly by: RulePlace;
    readonly hook: NftHook | undefined;
  }
  /** The kernel dropped it outside of any rule. */
  | { readonly type: "lost"; readonly at: Stage; readonly drop?: KernelDrop };

/** Name of a chain of the tracing table: before all others at its hook, or after. */
export function bracketName(hook: NftHook, side: "start" | "end"): string {
  return `${hook}-${side}`;
}

/** Events of one packet in the kernel's traces. */
export interface Observed {
  /** In their order, those of the tracing table among them. */
  readonly nft: readonly NftTraceEvent[];
  readonly legacy: readonly LegacyTraceEvent[];
  readonly drop: KernelDrop | undefined;
}

/**
 * Concludes a packet's end from its events.
 *
 * @param tracingTable name of the table whose chains stand before and after all others at each hook
 * @returns `undefined` without events
 */
export function concludeFate(observed: Observed, tracingTable: string): Fate | undefined {
  const { nft, legacy, drop } = observed;
  if (nft.length === 0) {
    return drop === undefined ? undefined : { type: "lost", at: "entry", drop };
  }
  const path: string[] = [];
  let last: { hook: NftHook; side: string } | undefined;
  let accepted: RulePlace | undefined;
  let rewrittenBy: RulePlace | undefined;
  let headers: Headers | undefined;
  let oif: number | undefined;
  for (const event of nft) {
    const { table, chain, type, verdict, handle, network } = event;
    if (network !== undefined) {
      // The first event of a base chain.
      path.length = 0;
      const now = readHeaders(network) ?? headers;
      if (headers !== undefined && isRewritten(headers, now)) {
        rewrittenBy = accepted ?? natPlace(legacy);
      }
      headers = now;
      accepted = undefined;
    }
    if (event.oif !== undefined) oif = event.oif;
    if (table === tracingTable && event.family !== "ip") continue;
    if (table === tracingTable) {
      const [hook, side] = chain.split("-") as [NftHook, string];
      last = { hook, side };
      continue;
    }
    enterChain(path, chain);
    const by = nftPlace(event, path);
    if (verdict === "drop") return { type: "dropped", by, hook: last?.hook };
    // A program may return a queued packet; then more events follow.
    const isTaken = verdict === "queue" || verdict === "stolen";
    if (isTaken && event === nft.at(-1)) return { type: "taken", by, hook: last?.hook };
    if (verdict === "accept" && handle !== undefined) accepted = by;
    const isEnd = type === "return" || (type === "rule" && handle === undefined);
    if (isEnd) path.pop();
  }
  if (last === undefined || headers === undefined) {
    return { type: "lost", at: "entry", ...(drop === undefined ? {} : { drop }) };
  }
  const { hook, side } = last;
  if (side === "start") {
    const by = legacyPlace(legacy);
    return by === undefined
      ? { type: "lost", at: hook, ...(drop === undefined ? {} : { drop }) }
      : { type: "dropped", by, hook };
  }
  if (hook !== "input" && hook !== "postrouting") {
    const at = hook === "prerouting" ? "routing" : hook;
    return { type: "lost", at, ...(drop === undefined ? {} : { drop }) };
  }
  return {
    ...{ type: "passed", to: hook, source: headers.source, destination: headers.destination },
    ...(oif === undefined || hook === "input" ? {} : { oif }),
    ...(rewrittenBy === undefined ? {} : { rewrittenBy }),
    ...(drop === undefined ? {} : { lost: drop }),
  };
}

function isRewritten(before: Headers, now: Headers | undefined): boolean {
  return now !== undefined &&
    (before.source !== now.source || before.destination !== now.destination);
}

/** Follows the packet into a chain, or back to one that led there. */
function enterChain(path: string[], chain: string): void {
  const at = path.indexOf(chain);
  if (at >= 0) path.length = at + 1;
  else path.push(chain);
}

function nftPlace(
  { family, table, chain, handle }: NftTraceEvent,
  path: readonly string[],
): RulePlace {
  return {
    ...{ ruleset: "nftables", family, table, chain, path: [...path] },
    ...(handle === undefined ? {} : { handle }),
  };
}

/** Chains that packets enter at hooks. */
const BUILT_IN = new Set(["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"]);

/** Returns the last rule that matched, or the policy, after which the packet has no event. */
function legacyPlace(events: readonly LegacyTraceEvent[]): RulePlace | undefined {
  const last = events.at(-1);
  if (last === undefined || last.type === "return") return undefined;
  const path: string[] = [];
  for (const { table, chain, type } of events) {
    if (table !== last.table || BUILT_IN.has(chain) && !path.includes(chain)) path.length = 0;
    if (table === last.table) enterChain(path, chain);
    if (type === "return") path.pop();
  }
  const { table, chain, type, number } = last;
  return {
    ...{ ruleset: "iptables-legacy", family: "ip", table, chain, path },
    ...(type === "rule" ? { number } : {}),
  };
}

/** The last rule of iptables-legacy's table nat that matched. */
function natPlace(events: readonly LegacyTraceEvent[]): RulePlace | undefined {
  const end = events.findLastIndex(({ table, type }) => table === "nat" && type === "rule");
  return end < 0 ? undefined : legacyPlace(events.slice(0, end + 1));
}
