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
  /** Input of `iptables-restore --noflush`: one transaction per table that has to change. */
  readonly text: string;
  /** Differences between the present rules and the desired ones, one line each. */
  readonly differences: readonly string[];
  /** Names of the chains of flanneld that have to change. */
  readonly chains: readonly string[];
  /** Removed and added rules, in the syntax of iptables(8). */
  readonly changes: readonly RuleChange[];
}

/** Returns the desired rules of a chain of flanneld; `undefined` for a chain that must not exist. */
export type DesiredChains = (chain: OwnChain) => readonly Rule[] | undefined;

/** No rules of flanneld. */
export const NOTHING: DesiredChains = () => undefined;

/**
 * Plans the change from the saved rules to the desired ones. Does not name rules of other programs, except for a
 * jump into a chain of flanneld that is removed.
 *
 * With `--noflush`, the line `:CHAIN - [0:0]` creates or empties a chain, and each table is committed as a whole, so
 * that a packet meets either all old rules or all new ones.
 *
 * @param saved all rules of the host
 * @param networks this host's networks, which identify rules of older flannels
 * @param tag suffix of the network's chains, see {@linkcode FirewallSpec.tag}; chains with other tags stay
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
  /** Tables without the rules that the plan has removed so far. */
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
    // Chain declarations, which empty chains, come first: another chain may jump to a removed one.
    const [declarations, rest] = [true, false].map((is) =>
      lines.filter((line) => line.startsWith(":") === is)
    );
    return [`*${table}`, ...declarations!, ...rest!, "COMMIT"];
  });
  return { text: text.join("\n") + "\n", differences, chains, changes };
}

/** Returns whether the saved rules contain rules of flanneld or of an older flannel. */
export function hasOwnRules(
  saved: SavedRules,
  networks: readonly PreviousNetwork[],
  tag?: string,
): boolean {
  return planRestore(saved, NOTHING, networks, tag) !== undefined;
}

/**
 * Returns whether this rule set may drop forwarded packets: its FORWARD has another policy than ACCEPT, or rules of
 * other programs. An empty FORWARD that accepts needs no rule of flanneld.
 */
export function mayDropForwarded(
  saved: SavedRules,
  networks: readonly PreviousNetwork[],
): boolean {
  const table = saved.get(FORWARD_CHAIN.table);
  const forward = table?.get(FORWARD_CHAIN.parent);
  if (table === undefined || forward === undefined) return false;
  const own = chainsIn(FORWARD_CHAIN.table, table).flatMap((chain) => findJumps(chain, table))
    .filter(({ from }) => from === FORWARD_CHAIN.parent).length +
    legacyRules(FORWARD_CHAIN, forward.rules, networks).length;
  return forward.policy !== "ACCEPT" || forward.rules.length > own;
}

/**
 * Counts the rules and chains of other programs in this rule set, and the built-in chains with a changed policy.
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

/** Returns the chains of all networks of flanneld in a table. */
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

/** Returns the changes of a chain of flanneld; includes the chain itself when it is created or removed. */
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
  /** Name of the rule's chain. */
  readonly from: string;
  readonly rule: string;
}

/**
 * Returns the rules of any chain that jump to `chain`: the kernel refuses to delete a chain while one exists.
 *
 * @param emptied names of chains that the plan empties, which are not searched
 */
function findJumps(
  chain: OwnChain,
  table: ReadonlyMap<string, SavedChain>,
  emptied: readonly string[] = [chain.name],
): Placed[] {
  const jumps: Placed[] = [];
  for (const [from, { rules }] of table) {
    if (emptied.includes(from)) continue;
    for (const rule of rules) {
      // Search for the name first: parsing tens of thousands of other rules is slow.
      if (!rule.includes(chain.name)) continue;
      const options = ruleOptions(splitWords(rule));
      if (options.includes(`-j ${chain.name}`) || options.includes(`-g ${chain.name}`)) {
        jumps.push({ from, rule });
      }
    }
  }
  return jumps;
}

/** Returns the chains of a table without the first rule equal to each of `doomed`. */
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
