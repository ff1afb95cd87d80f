import { legacyRules } from "./iptables/legacy.ts";
import { insertJump, isGoodJump } from "./placement.ts";
import { FORWARD_CHAIN, type OwnChain, ownChainNamed, ownChains, type Rule } from "./rules.ts";
import {
  joinWords,
  ruleOptions,
  sameRule,
  type SavedChain,
  type SavedRules,
  splitWords,
} from "./iptables/save_format.ts";
import type { PreviousNetwork } from "./firewall_spec.ts";
import type { RuleChange } from "./ruleset.ts";

/** A change of the host's rules. */
export interface Plan {
  /** For `iptables-restore --noflush`: one transaction for each table that has to change. */
  readonly text: string;
  /** What is wrong with the rules as they are, one line each. */
  readonly differences: readonly string[];
  /** Names of the chains of flanneld that have to change. */
  readonly chains: readonly string[];
  /** What the transaction takes away and adds, rule by rule, in the words of iptables(8). */
  readonly changes: readonly RuleChange[];
}

/** Rules of each chain of ours; `undefined` for a chain that shall not exist. */
export type DesiredChains = (chain: OwnChain) => readonly Rule[] | undefined;

/** Nothing of ours. */
export const NOTHING: DesiredChains = () => undefined;

/**
 * What brings the saved rules to the desired ones. Foreign rules are never named, except for a
 * jump into a chain of ours that has to go.
 *
 * With `--noflush`, the line `:CHAIN - [0:0]` empties a chain of ours or makes it, and each
 * table's part is committed as a whole, so that a packet sees all old rules or all new ones.
 *
 * @param saved all rules of the host
 * @param networks this host's networks, by which rules of older flannels are told
 * @param tag tells the network's chains, see {@linkcode FirewallSpec.tag}; those with others are left alone
 * @returns `undefined` when nothing has to change
 */
export function planRestore(
  saved: SavedRules,
  desired: DesiredChains,
  networks: readonly PreviousNetwork[],
  tag?: string,
): Plan | undefined {
  const tables = new Map<string, string[]>();
  const chains: string[] = [];
  const differences: string[] = [];
  const changes: RuleChange[] = [];
  const own = ownChains(tag).map(({ name }) => name);
  /** Tables as they are once what was planned before is done, as far as rules go from them. */
  const left = new Map<string, ReadonlyMap<string, SavedChain>>();
  for (const chain of ownChains(tag)) {
    const { table } = chain;
    const present = left.get(table) ?? saved.get(table) ?? new Map();
    const part = planChain(chain, present, desired(chain), networks, own);
    if (part.differences.length === 0) continue;
    chains.push(chain.name);
    left.set(table, without(present, part.doomed));
    tables.set(table, [...tables.get(table) ?? [], ...part.lines]);
    differences.push(...part.differences.map((text) => `${table}: ${text}`));
    changes.push(...part.changes.map(({ sign, rule }) => ({ sign, rule: `-t ${table} ${rule}` })));
  }
  if (tables.size === 0) return undefined;
  const text = [...tables].flatMap(([table, lines]) => {
    // Chains are emptied first: one that goes may be led to from another.
    const [heads, rest] = [true, false].map((is) =>
      lines.filter((line) => line.startsWith(":") === is)
    );
    return [`*${table}`, ...heads!, ...rest!, "COMMIT"];
  });
  return { text: text.join("\n") + "\n", differences, chains, changes };
}

/** True when the saved rules hold anything of ours, or anything an older flannel left. */
export function holdsOurs(
  saved: SavedRules,
  networks: readonly PreviousNetwork[],
  tag?: string,
): boolean {
  return planRestore(saved, NOTHING, networks, tag) !== undefined;
}

/**
 * True when this set may drop forwarded packets that nobody else drops: its FORWARD has another
 * policy than ACCEPT, or rules of others. Where it is empty and accepts, no rule of ours is needed.
 */
export function mayDropForwarded(
  saved: SavedRules,
  networks: readonly PreviousNetwork[],
): boolean {
  const table = saved.get(FORWARD_CHAIN.table);
  const forward = table?.get(FORWARD_CHAIN.parent);
  if (table === undefined || forward === undefined) return false;
  const ours = chainsIn(FORWARD_CHAIN.table, table).flatMap((chain) => findJumps(chain, table))
    .filter(({ from }) => from === FORWARD_CHAIN.parent).length +
    legacyRules(FORWARD_CHAIN, forward.rules, networks).length;
  return forward.policy !== "ACCEPT" || forward.rules.length > ours;
}

/**
 * How much others rely on this set of rules: their rules, their chains, and the built-in chains
 * whose policy they changed.
 */
export function foreignWeight(saved: SavedRules, networks: readonly PreviousNetwork[]): number {
  let weight = 0;
  for (const [table, chains] of saved) {
    for (const [name, { policy, rules }] of chains) {
      const own = ownChainNamed(table, name) !== undefined;
      if (!own) weight += rules.length + (policy === "ACCEPT" ? 0 : 1);
    }
    for (const own of chainsIn(table, chains)) weight -= findJumps(own, chains).length;
  }
  for (const chain of ownChains(undefined)) {
    const parent = saved.get(chain.table)?.get(chain.parent);
    weight -= legacyRules(chain, parent?.rules ?? [], networks).length;
  }
  return weight;
}

/** The chains of all networks that a table has. */
function chainsIn(table: string, chains: ReadonlyMap<string, SavedChain>): OwnChain[] {
  return [...chains.keys()].map((name) => ownChainNamed(table, name))
    .filter((chain) => chain !== undefined);
}

function planChain(
  chain: OwnChain,
  table: ReadonlyMap<string, SavedChain>,
  wanted: readonly Rule[] | undefined,
  networks: readonly PreviousNetwork[],
  own: readonly string[],
): { lines: string[]; differences: string[]; changes: RuleChange[]; doomed: readonly Placed[] } {
  const differences: string[] = [];
  const parentRules = table.get(chain.parent)?.rules ?? [];
  const present = table.get(chain.name);
  const jumps = findJumps(chain, table, own);
  const legacy = legacyRules(chain, parentRules, networks);
  const keepJump = wanted !== undefined && jumps.length === 1 &&
    jumps[0]!.from === chain.parent && isGoodJump(chain, jumps[0]!.rule, parentRules);

  for (const rule of legacy) differences.push(`${chain.parent} has an old flannel's ${rule}`);
  if (wanted === undefined) {
    if (present !== undefined) differences.push(`${chain.name} is there and should not be`);
  } else {
    if (present === undefined) differences.push(`${chain.name} is missing`);
    else if (!sameRules(present.rules, wanted)) {
      differences.push(`the rules in ${chain.name} are not the ones wanted`);
    }
    if (!keepJump) differences.push(`${chain.parent} does not lead to ${chain.name} as it should`);
  }

  const doomed = [
    ...legacy.map((rule) => ({ from: chain.parent as string, rule })),
    ...(keepJump ? [] : jumps),
  ];
  const lines = doomed.map(({ from, rule }) => `-D ${from} ${rule}`);
  const changes: RuleChange[] = doomed.map(({ from, rule }) => ({
    sign: "-",
    rule: `-A ${from} ${rule}`,
  }));
  if (wanted !== undefined || present !== undefined) {
    lines.unshift(`:${chain.name} - [0:0]`);
    changes.push(...chainChanges(chain, present?.rules, wanted));
  }
  if (wanted !== undefined) {
    lines.push(...wanted.map((rule) => `-A ${chain.name} ${joinWords(rule)}`));
    if (!keepJump) {
      const rest = without(table, doomed).get(chain.parent)?.rules ?? [];
      const jump = insertJump(chain, rest);
      lines.push(jump);
      changes.push({ sign: "+", rule: jump });
    }
  } else if (present !== undefined) {
    lines.push(`-X ${chain.name}`);
  }
  return { lines, differences, changes, doomed };
}

/** What goes from a chain of ours and comes to it; the chain itself where it is all or nothing. */
function chainChanges(
  chain: OwnChain,
  present: readonly string[] | undefined,
  wanted: readonly Rule[] | undefined,
): RuleChange[] {
  const left = [...present ?? []];
  const coming = (wanted ?? []).filter((rule) => {
    const at = left.findIndex((one) => sameRule(splitWords(one), rule));
    if (at >= 0) left.splice(at, 1);
    return at < 0;
  });
  const reordered = left.length === 0 && coming.length === 0 && wanted !== undefined &&
    present !== undefined && !sameRules(present, wanted);
  const append = `-A ${chain.name}`;
  const changes: RuleChange[] = [];
  for (const rule of reordered ? present : left) {
    changes.push({ sign: "-", rule: `${append} ${rule}` });
  }
  if (wanted === undefined) changes.push({ sign: "-", rule: `-N ${chain.name}` });
  if (present === undefined) changes.push({ sign: "+", rule: `-N ${chain.name}` });
  for (const rule of reordered ? wanted : coming) {
    changes.push({ sign: "+", rule: `${append} ${joinWords(rule)}` });
  }
  return changes;
}

interface Placed {
  /** Chain the rule stands in. */
  readonly from: string;
  readonly rule: string;
}

/**
 * Every rule that leads into the chain, wherever it stands: no chain goes while one does.
 *
 * @param emptied names of chains that are not searched
 */
function findJumps(
  chain: OwnChain,
  table: ReadonlyMap<string, SavedChain>,
  emptied: readonly string[] = [chain.name],
): Placed[] {
  const jumps: Placed[] = [];
  for (const [from, { rules }] of table) {
    // They are emptied, whatever is in them.
    if (emptied.includes(from)) continue;
    for (const rule of rules) {
      // Looking for the name first spares taking tens of thousands of foreign rules apart.
      if (!rule.includes(chain.name)) continue;
      const options = ruleOptions(splitWords(rule));
      if (options.includes(`-j ${chain.name}`) || options.includes(`-g ${chain.name}`)) {
        jumps.push({ from, rule });
      }
    }
  }
  return jumps;
}

/** The chains of a table once each of `doomed` has taken the first rule equal to it away. */
function without(
  table: ReadonlyMap<string, SavedChain>,
  doomed: readonly Placed[],
): ReadonlyMap<string, SavedChain> {
  const chains = new Map(table);
  for (const { from, rule } of doomed) {
    const chain = chains.get(from)!;
    chains.set(from, { ...chain, rules: chain.rules.toSpliced(chain.rules.indexOf(rule), 1) });
  }
  return chains;
}

function sameRules(saved: readonly string[], wanted: readonly Rule[]): boolean {
  return saved.length === wanted.length &&
    saved.every((rule, i) => sameRule(splitWords(rule), wanted[i]!));
}
