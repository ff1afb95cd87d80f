/**
 * Rules in the syntax of nft(8), and in the JSON output of `nft -j` (libnftables-json(5)).
 *
 * @module
 */
import { FirewallError } from "../errors.ts";
import type { AddressMatch, PacketRule, Verdict } from "../policy.ts";
import { truncate } from "../../text/mod.ts";

/** A base chain: where it hooks into a packet's way, and what it does at its end. */
export interface NftHook {
  readonly type: string;
  readonly hook: string;
  /** Chains with lower numbers see a packet first. */
  readonly priority: number;
  /** `accept` or `drop`. */
  readonly policy: string;
}

/** A chain with its rules. */
export interface NftChain extends Partial<NftHook> {
  readonly name: string;
  /**
   * Each in the words of {@linkcode formatNftRule}; as JSON where those have no word for something
   * in it.
   */
  readonly rules: readonly string[];
}

/** A rule in a table of others. */
export interface NftForeignRule {
  readonly chain: string;
  /** The handle by which nft deletes the rule. */
  readonly handle: number;
  readonly comment: string | undefined;
  /** As in {@linkcode NftChain.rules}. */
  readonly text: string;
}

/** The content of a table of others, as far as flanneld has rules in it. */
export interface NftForeignTable {
  /** Names of all chains. */
  readonly chains: readonly string[];
  readonly rules: readonly NftForeignRule[];
  /** Names of all sets. */
  readonly sets: readonly string[];
}

/** One table, as the kernel has it. */
export interface NftTable {
  /** Flags, such as `dormant`; empty as a rule. */
  readonly flags: readonly string[];
  readonly chains: readonly NftChain[];
  /** True when it holds what is neither chain nor rule: sets, maps, counters. */
  readonly hasOther: boolean;
}

/** A base chain of any table. */
export interface NftBaseChain extends NftHook {
  readonly family: string;
  readonly table: string;
  readonly name: string;
}

const VERDICTS: Readonly<Record<Verdict, string>> = {
  "return": "return",
  "accept": "accept",
  // iptables counts by itself.
  "drop": "counter drop",
  "masquerade": "masquerade",
  "masquerade at random": "masquerade fully-random",
};

/** A rule in nft's syntax: `ip saddr 10.20.0.0/16 ip daddr != 224.0.0.0/4 masquerade`. */
export function formatNftRule(rule: PacketRule): string {
  const { mark, input, source, sourceSet, destination, udpPort, verdict } = rule;
  const bits = mark === undefined ? undefined : `0x${mark.toString(16)}`;
  return [
    ...(bits === undefined ? [] : [`meta mark & ${bits} == ${bits}`]),
    ...(input === undefined ? [] : [`iifname "${input}"`]),
    ...address("saddr", source),
    ...(sourceSet === undefined ? [] : [`ip saddr @${sourceSet}`]),
    ...address("daddr", destination),
    ...(udpPort === undefined ? [] : [`udp dport ${udpPort}`]),
    VERDICTS[verdict],
  ].join(" ");
}

function address(field: string, match: AddressMatch | undefined): string[] {
  if (match === undefined) return [];
  return [`ip ${wordOf(field)} ${match.outside ? "!= " : ""}${match.prefix}`];
}

/**
 * Reads what `nft -j list table` wrote.
 *
 * @throws {FirewallError} when it is not that
 */
export function parseNftTable(text: string): NftTable {
  let flags: readonly string[] = [];
  let hasOther = false;
  const chains = new Map<string, { chain: Json; rules: string[] }>();
  for (const [kind, value] of objectsOf(text)) {
    switch (kind) {
      case "table":
        flags = [value.flags ?? []].flat().map(wordOf);
        break;
      case "chain":
        chains.set(wordOf(value.name), { chain: value, rules: [] });
        break;
      case "rule":
        chains.get(wordOf(value.chain))?.rules.push(formatExpressions(value.expr));
        break;
      default:
        hasOther = true;
    }
  }
  return {
    flags,
    hasOther,
    chains: [...chains].map(([name, { chain, rules }]) => ({
      name,
      ...("hook" in chain ? hookOf(chain) : {}),
      rules,
    })),
  };
}

/**
 * Reads what `nft -j -t list table` wrote of a table of others.
 *
 * @throws {FirewallError} when it is not that
 */
export function parseNftForeignTable(text: string): NftForeignTable {
  const objects = objectsOf(text);
  const named = (kind: string) =>
    objects.filter(([one]) => one === kind).map(([, { name }]) => wordOf(name));
  return {
    chains: named("chain"),
    sets: named("set"),
    rules: objects.filter(([kind]) => kind === "rule").map(([, rule]) => ({
      chain: wordOf(rule.chain),
      handle: Number(wordOf(rule.handle)),
      comment: rule.comment === undefined ? undefined : wordOf(rule.comment),
      text: formatExpressions(rule.expr),
    })),
  };
}

/**
 * Reads what `nft -j list chains` wrote: the base chains, since others are reached through them.
 *
 * @throws {FirewallError} when it is not that
 */
export function parseNftBaseChains(text: string): NftBaseChain[] {
  return objectsOf(text)
    .filter(([kind, value]) => kind === "chain" && "hook" in value)
    .map(([, value]) => ({
      family: wordOf(value.family),
      table: wordOf(value.table),
      name: wordOf(value.name),
      ...hookOf(value),
    }));
}

/**
 * Reads what `nft -j list tables` wrote.
 *
 * @returns `ip flannel-ipv4`: family and name of each
 * @throws {FirewallError} when it is not that
 */
export function parseNftTables(text: string): string[] {
  return objectsOf(text).filter(([kind]) => kind === "table")
    .map(([, { family, name }]) => `${wordOf(family)} ${wordOf(name)}`);
}

/** An object of JSON. */
export type Json = { readonly [key: string]: unknown };

/** The members of `{"nftables": [{"chain": {...}}, ...]}`, without the one about nft itself. */
export function objectsOf(text: string): [string, Json][] {
  let list: unknown;
  try {
    // Nothing at all is what old releases write when there is nothing to list.
    list = text.trim() === "" ? [] : JSON.parse(text).nftables;
  } catch (cause) {
    throw new FirewallError(`nft -j answered ${JSON.stringify(truncate(text, 80))}`, { cause });
  }
  if (!Array.isArray(list)) {
    throw new FirewallError(`nft -j answered ${JSON.stringify(truncate(text, 80))}`);
  }
  return list.flatMap((member) => Object.entries(objectOf(member)))
    .filter(([kind]) => kind !== "metainfo")
    .map(([kind, value]) => [kind, objectOf(value)]);
}

/** An object's members; none of what is no object. */
function objectOf(value: unknown): Json {
  return typeof value === "object" && value !== null ? value as Json : {};
}

/** A word as it is; anything else as JSON. */
function wordOf(value: unknown): string {
  return typeof value === "string" ? value : String(JSON.stringify(value));
}

function hookOf({ type, hook, prio, policy }: Json): NftHook {
  return {
    type: wordOf(type),
    hook: wordOf(hook),
    priority: Number(wordOf(prio)),
    // Absent means the default.
    policy: wordOf(policy ?? "accept"),
  };
}

/** An expression list in our words, or as JSON when it holds anything that our rules do not. */
function formatExpressions(expressions: unknown): string {
  const words = Array.isArray(expressions) ? expressions.map(formatExpression) : [undefined];
  return words.includes(undefined) ? String(JSON.stringify(expressions)) : words.join(" ");
}

function formatExpression(expression: unknown): string | undefined {
  const [kind, value] = Object.entries(objectOf(expression))[0] ?? [];
  switch (kind) {
    case "match":
      return formatMatch(objectOf(value));
    case "return":
    case "accept":
    case "drop":
    // How much it has counted is no difference.
    case "counter":
      return kind;
    case "masquerade": {
      const { flags = [], ...rest } = objectOf(value);
      if (Object.keys(rest).length > 0) return undefined;
      return ["masquerade", [flags].flat().map(wordOf).join(",")].filter((word) => word !== "")
        .join(" ");
    }
    default:
      return undefined;
  }
}

function formatMatch({ op, left, right }: Json): string | undefined {
  const operand = left as
    | { payload?: Json; meta?: Json; "&"?: [{ meta?: Json }, number] }
    | undefined;
  if (operand?.meta?.key === "iifname" && op === "==" && typeof right === "string") {
    return `iifname "${right}"`;
  }
  if (operand?.payload !== undefined) {
    const { protocol, field } = objectOf(operand.payload);
    if (protocol === "udp" && field === "dport" && op === "==" && typeof right === "number") {
      return `udp dport ${right}`;
    }
    const prefix = formatPrefix(right);
    if (protocol !== "ip" || prefix === undefined || (op !== "==" && op !== "!=")) return undefined;
    return `ip ${wordOf(field)} ${op === "!=" ? "!= " : ""}${prefix}`;
  }
  const masked = operand?.["&"];
  if (Array.isArray(masked) && masked[0]?.meta?.key === "mark" && typeof right === "number") {
    return `meta mark & 0x${Number(wordOf(masked[1])).toString(16)} ${wordOf(op)} 0x${
      right.toString(16)
    }`;
  }
  return undefined;
}

/** Formats a prefix or set. nft prints a prefix of 32 bits as an address, and a set as its name after an `@`. */
function formatPrefix(right: unknown): string | undefined {
  if (typeof right === "string") return right.startsWith("@") ? right : `${right}/32`;
  const { prefix } = objectOf(right);
  if (prefix === undefined) return undefined;
  const { addr, len } = objectOf(prefix);
  return `${wordOf(addr)}/${wordOf(len)}`;
}
