import type { HostCommands } from "./command.ts";
import { FirewallError } from "./errors.ts";
import type { FirewallMode } from "./firewall.ts";
import { chooseIptables, type Iptables, type IptablesChoice } from "./iptables/iptables.ts";
import { IptablesRuleset } from "./iptables/iptables_ruleset.ts";
import { isOwnTable, ownTable } from "./nftables/nft_plan.ts";
import { Nftables, NftablesRuleset } from "./nftables/nftables.ts";
import { DockerBridgesRuleset } from "./docker/docker_bridges_ruleset.ts";
import type { PeerSources } from "./peer_sources.ts";
import type { PeerSet } from "./peer_set.ts";
import type { Role, Ruleset } from "./ruleset.ts";
import type { FirewallSpec, PreviousNetwork } from "./firewall_spec.ts";

/** Tables of iptables-nft, ip6tables-nft and similar programs, which count as iptables. */
const IPTABLES_TABLE = /^(ip|ip6) (filter|nat|mangle|raw|security)$|^(arp|bridge) /;

/** A rule set and its role. */
export interface Assignment {
  readonly ruleset: Ruleset;
  readonly role: Role;
}

/** Tools of the host and their roles. */
export interface Tools {
  /** First the rule set with all desired rules; empty without a tool. */
  readonly assignments: readonly Assignment[];
  /** The tool in use, for logs; absent without one. */
  readonly description?: string;
  /** Access to nftables; absent when the host has none. */
  readonly nftables?: Nftables;
  /** One per iptables rule set of the host. */
  readonly iptables: readonly Iptables[];
  /** False while iptables is not installed, since its rule set may need rules later. */
  readonly complete: boolean;
}

/** Input of {@linkcode findTools}. */
export interface ToolsRequest {
  readonly mode: FirewallMode;
  readonly preferNftables: boolean;
  readonly isRunning: boolean;
  readonly spec: FirewallSpec;
  readonly networks: readonly PreviousNetwork[];
  readonly peers: PeerSources;
  readonly peerSet: PeerSet;
  /** Path of the network namespace for netlink. @default this process's */
  readonly netns?: string | undefined;
}

/**
 * Finds the host's firewall tools and assigns a role to each rule set.
 *
 * | mode | role "all" | role "acceptance" | role "nothing" |
 * |---|---|---|---|
 * | iptables | iptables' set with more rules of other programs | its other set | nftables |
 * | nftables | nftables | both of iptables' sets | |
 *
 * Every mode includes Docker's own nftables table.
 *
 * `auto` selects nftables when the config prefers it, when the host has no iptables, and when other programs have
 * tables in nftables but no rule in iptables; otherwise iptables. While an agent runs, `auto` selects the tool with the
 * network's rules.
 *
 * @throws {FirewallError} when the requested tool is missing or does not work
 */
export async function findTools(commands: HostCommands, request: ToolsRequest): Promise<Tools> {
  const { mode, spec, networks, peers, peerSet, netns } = request;
  const installed = await optional(Nftables.find(commands), mode === "nftables");
  if (mode === "nftables" && installed === undefined) throw notFound("nft", "nftables", commands);
  const iptables = await optional(
    chooseIptables(commands, networks, spec.tag),
    mode === "iptables" || installed === undefined,
  );
  if (mode === "iptables" && iptables === undefined) {
    throw notFound("iptables", "iptables", commands);
  }
  const tables = mode !== "nftables" && iptables !== undefined ? installed?.tables() : undefined;
  // iptables-legacy works without nf_tables.
  const nftables = await lacksModule(tables) ? undefined : installed;

  const assignments: Assignment[] = [];
  const useNftables = nftables !== undefined &&
    (mode === "nftables" ||
      (mode === "auto" && await prefersNftables(request, iptables, tables)));
  const nft = nftables && new NftablesRuleset(nftables, spec);
  if (nft && useNftables) assignments.push({ ruleset: nft, role: "all" });
  const tools = [iptables?.use, iptables?.other].filter((tool) => tool !== undefined);
  for (const tool of tools) {
    const role = assignments.length === 0 ? "all" : "acceptance";
    assignments.push({ ruleset: new IptablesRuleset(tool, spec, networks, peerSet), role });
  }
  if (nft && !useNftables) assignments.push({ ruleset: nft, role: "nothing" });
  if (nftables !== undefined) {
    const ruleset = new DockerBridgesRuleset(nftables, spec, { peers, netns });
    assignments.push({ ruleset, role: "acceptance" });
  }
  return {
    assignments,
    ...(assignments[0] === undefined ? {} : { description: assignments[0].ruleset.description }),
    ...(nftables === undefined ? {} : { nftables }),
    iptables: tools,
    complete: iptables !== undefined,
  };
}

/** Returns whether nft fails because the kernel has no nf_tables. */
async function lacksModule(tables: Promise<readonly string[]> | undefined): Promise<boolean> {
  try {
    await tables;
  } catch (error) {
    if (!(error instanceof FirewallError)) throw error;
    return error.missingModule !== undefined;
  }
  return false;
}

async function prefersNftables(
  { preferNftables, isRunning, spec }: ToolsRequest,
  iptables: IptablesChoice | undefined,
  reading: Promise<readonly string[]> | undefined,
): Promise<boolean> {
  if (preferNftables || iptables === undefined) return true;
  const tables = await reading ?? [];
  if (isRunning && tables.includes(ownTable(spec.tag))) return true;
  if (isRunning && iptables.hasOwnRules || iptables.foreignWeight > 0) return false;
  return tables.some((name) => !isOwnTable(name) && !IPTABLES_TABLE.test(name));
}

/** Treats a tool that does not work as missing, unless it is needed. */
async function optional<T>(
  found: Promise<T | undefined>,
  isNeeded: boolean,
): Promise<T | undefined> {
  try {
    return await found;
  } catch (error) {
    if (isNeeded || !(error instanceof FirewallError)) throw error;
    return undefined;
  }
}

function notFound(program: string, mode: FirewallMode, { searchPath }: HostCommands) {
  return new FirewallError(
    `${program} was not found, and -firewall ${mode} needs it: install the package ${mode} (it is ` +
      `searched for in ${searchPath.join(":")}), or run with -firewall auto`,
  );
}
