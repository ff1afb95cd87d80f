import { formatNftRule, type NftChain, type NftHook, type NftTable } from "./nft_format.ts";
import { forwardRules, guardRules, masqueradeRules } from "../policy.ts";
import { isNamedAfter } from "../rules.ts";
import type { FirewallSpec } from "../firewall_spec.ts";
import type { RuleChange } from "../ruleset.ts";

const OWN_TABLE = "ip flannel-ipv4";

/**
 * Returns family and name of a network's table, the same as newer flannel's, so that each program finds the other's
 * table. A tag selects one network of several.
 */
export function ownTable(tag: string | undefined): string {
  return tag === undefined ? OWN_TABLE : `${OWN_TABLE}-${tag}`;
}

/** True for the table of any network. @param name family and name */
export function isOwnTable(name: string): boolean {
  return isNamedAfter(name, OWN_TABLE);
}

/** Newer flannel makes it, with or without IPv6; we need none. */
export const IPV6_TABLE = "ip6 flannel-ipv6";

/** NF_IP_PRI_RAW of linux/netfilter_ipv4.h, nft's `raw`; fragments have been joined before, where anything tracks. */
const PRIORITY_RAW = -300;

/** NF_IP_PRI_NAT_SRC of linux/netfilter_ipv4.h, nft's `srcnat`. */
const PRIORITY_SRCNAT = 100;

/** NF_IP_PRI_FILTER of linux/netfilter_ipv4.h, nft's `filter`. */
const PRIORITY_FILTER = 0;

/** A base chain with its rules in nft's syntax. */
export interface DesiredChain extends NftHook {
  readonly name: string;
  readonly rules: readonly string[];
}

/** A change of nft's rules. */
export interface NftPlan {
  /** For `nft -f -`: one transaction. */
  readonly text: string;
  /** Removed and added rules. */
  readonly changes: readonly RuleChange[];
}

/** Returns the desired chains of flanneld's table, with newer flannel's names; none when the table must not exist. */
export function desiredNftChains(spec: FirewallSpec): DesiredChain[] {
  const chains: DesiredChain[] = [];
  if (spec.ipMasq) {
    chains.push({
      name: "postrtg",
      ...{ type: "nat", hook: "postrouting", priority: PRIORITY_SRCNAT, policy: "accept" },
      rules: masqueradeRules(spec).map(formatNftRule),
    });
  }
  if (spec.forward) {
    chains.push({
      name: "forward",
      ...{ type: "filter", hook: "forward", priority: PRIORITY_FILTER, policy: "accept" },
      rules: forwardRules(spec).map(formatNftRule),
    });
  }
  const guard = guardRules(spec);
  if (guard.length > 0) {
    chains.push({
      name: "prerouting",
      ...{ type: "filter", hook: "prerouting", priority: PRIORITY_RAW, policy: "accept" },
      rules: guard.map(formatNftRule),
    });
  }
  return chains;
}

/**
 * Plans the change of flanneld's table to the desired chains. One transaction deletes the whole table and creates it
 * again, so that a packet meets either all old rules or all new ones. Does not name tables of other programs.
 *
 * @param table the present table; `undefined` when there is none
 * @param hasIPv6Table whether newer flannel's IPv6 table exists
 * @param own name of flanneld's table
 * @returns `undefined` when nothing has to change
 */
export function planNft(
  table: NftTable | undefined,
  desired: readonly DesiredChain[],
  hasIPv6Table = false,
  own = OWN_TABLE,
): NftPlan | undefined {
  const lines: string[] = [];
  const changes: RuleChange[] = [];
  if (hasIPv6Table) {
    lines.push(`delete table ${IPV6_TABLE}`);
    changes.push({ sign: "-", rule: `table ${IPV6_TABLE}` });
  }
  const ownChanges = tableChanges(table, desired, own);
  if (ownChanges.length > 0) {
    changes.push(...ownChanges);
    // Deleting what is not there fails, adding what is there does not.
    if (table !== undefined) lines.push(`add table ${own}`, `delete table ${own}`);
    if (desired.length > 0) lines.push(`add table ${own}`);
    for (const chain of desired) {
      lines.push(`add chain ${own} ${chain.name} { ${formatHook(chain)}; }`);
      lines.push(...chain.rules.map((rule) => `add rule ${own} ${chain.name} ${rule}`));
    }
  }
  return lines.length === 0 ? undefined : { text: lines.join("\n") + "\n", changes };
}

function tableChanges(
  table: NftTable | undefined,
  desired: readonly DesiredChain[],
  own: string,
): RuleChange[] {
  const changes: RuleChange[] = [];
  const wanted = desired.length > 0;
  if (table === undefined) {
    if (wanted) changes.push({ sign: "+", rule: `table ${own}` });
  } else if (!wanted) {
    changes.push({ sign: "-", rule: `table ${own}` });
  } else {
    for (const flag of table.flags) changes.push({ sign: "-", rule: `flag ${flag}` });
    if (table.hasOther) changes.push({ sign: "-", rule: "sets, maps and objects of others" });
  }
  const present = new Map(table?.chains.map((chain) => [chain.name, chain]));
  for (const chain of desired) {
    changes.push(...chainChanges(present.get(chain.name), chain));
    present.delete(chain.name);
  }
  for (const chain of present.values()) changes.push(...chainChanges(chain, undefined));
  return changes.map(({ sign, rule }) => ({
    sign,
    rule: rule.startsWith("table") ? rule : `${own} ${rule}`,
  }));
}

function chainChanges(is: NftChain | undefined, want: DesiredChain | undefined): RuleChange[] {
  const before = is === undefined ? [] : linesOf(is);
  const after = want === undefined ? [] : linesOf(want);
  if (before.length === after.length && before.every((line, i) => line === after[i])) return [];
  const left = [...before];
  const coming = after.filter((line) => {
    const at = left.indexOf(line);
    if (at >= 0) left.splice(at, 1);
    return at < 0;
  });
  const reordered = left.length === 0 && coming.length === 0;
  return [
    ...(reordered ? before : left).map((rule) => ({ sign: "-" as const, rule })),
    ...(reordered ? after : coming).map((rule) => ({ sign: "+" as const, rule })),
  ];
}

function linesOf(chain: NftChain): string[] {
  const { name, type, rules } = chain;
  const declaration = type === undefined ? `${name} {}` : `${name} { ${formatHook(chain)}; }`;
  return [declaration, ...rules.map((rule) => `${name} ${rule}`)];
}

function formatHook({ type, hook, priority, policy }: Partial<NftHook>): string {
  return `type ${type} hook ${hook} priority ${priority}; policy ${policy}`;
}
