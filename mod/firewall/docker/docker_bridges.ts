/**
 * Rules in the table that Docker 29 makes with `"firewall-backend": "nftables"`: there is no chain for users in
 * it, and no accept in another table overrides its drops.
 *
 * @module
 */
import {
  formatNftRule,
  type NftForeignRule,
  type NftForeignTable,
} from "../nftables/nft_format.ts";
import type { NftPlan } from "../nftables/nft_plan.ts";
import { overlayRules } from "../policy.ts";
import type { FirewallSpec } from "../firewall_spec.ts";
import type { RuleChange } from "../ruleset.ts";

/** Family and name of Docker's table. */
export const DOCKER_TABLE = "ip docker-bridges";

/** Docker's base chains that drop what comes to containers from elsewhere. */
const DROPPING_CHAINS = ["raw-PREROUTING", "filter-FORWARD"];

/** Comment that identifies the rules of flanneld; with a tag, those of one network of several. */
const COMMENT = "flanneld overlay";

/** Sets of the sources of peers: nftables' sets belong to their table. */
export interface DockerSets {
  /** Of subnets, with `flags interval`. */
  readonly leases: string;
  /** Of public IPs. */
  readonly hosts: string;
}

/** Names of a network's sets. @param tag see `chainTag` */
export function dockerSets(tag: string | undefined): DockerSets {
  const suffix = tag === undefined ? "" : `-${tag}`;
  return { leases: `flannel-leases${suffix}`, hosts: `flannel-hosts${suffix}` };
}

/**
 * Plans the rules of one network in Docker's table: at the start of both chains, behind those of other networks.
 *
 * @param table as the kernel has it
 * @returns `undefined` when nothing has to change
 */
export function planDockerBridges(
  table: NftForeignTable,
  spec: FirewallSpec,
): NftPlan | undefined {
  const sets = dockerSets(spec.tag);
  const comment = spec.tag === undefined ? COMMENT : `${COMMENT} ${spec.tag}`;
  const desired = overlayRules(spec, [sets.leases, sets.hosts]).map(formatNftRule);
  const usesSets = spec.ingress?.underlay !== undefined;
  const makes: string[] = [];
  const rules: string[] = [];
  const drops: string[] = [];
  const changes: RuleChange[] = [];
  for (const name of [sets.leases, sets.hosts]) {
    const isThere = table.sets.includes(name);
    if (isThere === usesSets) continue;
    changes.push({ sign: usesSets ? "+" : "-", rule: `set ${DOCKER_TABLE} ${name}` });
    const type = `type ipv4_addr;${name === sets.leases ? " flags interval;" : ""}`;
    if (usesSets) makes.push(`add set ${DOCKER_TABLE} ${name} { ${type} }`);
    else drops.push(`delete set ${DOCKER_TABLE} ${name}`);
  }
  for (const chain of DROPPING_CHAINS) {
    if (!table.chains.includes(chain)) continue;
    const present = table.rules.filter((rule) => rule.chain === chain);
    const own = present.filter((rule) => rule.comment === comment);
    if (isInPlace(present, own, desired)) continue;
    for (const { handle, text } of own) {
      rules.push(`delete rule ${DOCKER_TABLE} ${chain} handle ${handle}`);
      changes.push({ sign: "-", rule: `${DOCKER_TABLE} ${chain} ${text}` });
    }
    // Each goes before those inserted earlier.
    for (const rule of desired.toReversed()) {
      rules.push(`insert rule ${DOCKER_TABLE} ${chain} ${rule} comment "${comment}"`);
    }
    changes.push(
      ...desired.map((rule) => ({ sign: "+" as const, rule: `${DOCKER_TABLE} ${chain} ${rule}` })),
    );
  }
  const lines = [...makes, ...rules, ...drops];
  return lines.length === 0 ? undefined : { text: lines.join("\n") + "\n", changes };
}

function isInPlace(
  present: readonly NftForeignRule[],
  own: readonly NftForeignRule[],
  desired: readonly string[],
): boolean {
  const end = present.findIndex(({ comment }) => !comment?.startsWith(COMMENT));
  const first = end < 0 ? present : present.slice(0, end);
  return own.length === desired.length && own.every(({ text }, i) => text === desired[i]) &&
    own.every((rule) => first.includes(rule));
}
