import { peerSetName } from "./peer_set.ts";
import {
  type AddressMatch,
  forwardRules,
  guardRules,
  masqueradeRules,
  overlayRules,
  type PacketRule,
  type Verdict,
} from "./policy.ts";
import type { SavedRules } from "./iptables/save_format.ts";
import type { FirewallSpec } from "./firewall_spec.ts";

/**
 * A rule in the syntax of iptables(8), without table and chain:
 * `["-s", "10.20.0.0/16", "-j", "ACCEPT"]`.
 */
export type Rule = readonly string[];

/** A chain of flanneld and its parent, which has one jump to it: a built-in chain, or Docker's chain for its users. */
export interface OwnChain {
  readonly table: "nat" | "filter" | "raw";
  readonly name: string;
  readonly parent: "POSTROUTING" | "FORWARD" | "DOCKER-USER" | "PREROUTING";
  /** Comment of its rules, the same as flannel's, so that each program recognizes the other's rules. */
  readonly comment: string;
}

/** Masquerading. */
export const MASQUERADE_CHAIN: OwnChain = {
  table: "nat",
  name: "FLANNEL-POSTRTG",
  parent: "POSTROUTING",
  comment: "flanneld masq",
};

/** Acceptance of forwarded packets, which Docker 1.13 and newer drop by FORWARD's policy. */
export const FORWARD_CHAIN: OwnChain = {
  table: "filter",
  name: "FLANNEL-FWD",
  parent: "FORWARD",
  comment: "flanneld forward",
};

/** The comment of the rules in Docker's chains. */
const OVERLAY_COMMENT = "flanneld overlay";

/** Acceptance of peers' packets before Docker's chains drop them in FORWARD. */
export const INPUT_CHAIN: OwnChain = {
  table: "filter",
  name: "FLANNEL-IN",
  parent: "DOCKER-USER",
  comment: OVERLAY_COMMENT,
};

/**
 * Drops of forged packets, and acceptance of peers' packets before Docker's drops in the raw table.
 */
export const RAW_CHAIN: OwnChain = {
  table: "raw",
  name: "FLANNEL-RAW",
  parent: "PREROUTING",
  comment: OVERLAY_COMMENT,
};

const CHAINS: readonly OwnChain[] = [MASQUERADE_CHAIN, FORWARD_CHAIN, INPUT_CHAIN, RAW_CHAIN];

/** Docker's chain of its own rules. */
const DOCKER_CHAIN = "DOCKER";

/**
 * Returns whether Docker has its chains in this rule set; with `iptables=false` it has none. A chain of flanneld
 * counts as well, so that the rules stay while Docker recreates its chain.
 *
 * @param tag suffix of the network's chains
 */
export function hasDockerChains(saved: SavedRules, tag?: string): boolean {
  const table = saved.get(INPUT_CHAIN.table);
  const isOwn = ({ parent }: OwnChain) => parent === INPUT_CHAIN.parent;
  return table !== undefined && table.has(INPUT_CHAIN.parent) &&
    (table.has(DOCKER_CHAIN) || ownChains(tag).some((own) => isOwn(own) && table.has(own.name)));
}

/** Returns the chains of one network in the order of their changes. */
export function ownChains(tag: string | undefined): readonly OwnChain[] {
  if (tag === undefined) return CHAINS;
  return CHAINS.map((chain) => ({ ...chain, name: `${chain.name}-${tag}` }));
}

/** Returns flanneld's chain of a table and name, of any network; `undefined` for chains of other programs. */
export function ownChainNamed(table: string, name: string): OwnChain | undefined {
  const chain = CHAINS.find((one) => one.table === table && isNamedAfter(name, one.name));
  return chain && { ...chain, name };
}

/** Returns whether a name is the base name, with or without a tag. */
export function isNamedAfter(name: string, base: string): boolean {
  return name === base || name.startsWith(`${base}-`);
}

const TARGETS: Readonly<Record<Verdict, readonly string[]>> = {
  "return": ["RETURN"],
  "accept": ["ACCEPT"],
  "drop": ["DROP"],
  "masquerade": ["MASQUERADE"],
  "masquerade at random": ["MASQUERADE", "--random-fully"],
};

/** Returns the jump in the parent to a chain of flanneld. */
export function jumpRule(chain: OwnChain): Rule {
  return [...commented(chain), "-j", chain.name];
}

/** Returns the desired rules of a chain in order; `undefined` when the chain must not exist. */
export function desiredRules(chain: OwnChain, spec: FirewallSpec): readonly Rule[] | undefined {
  switch (chain.parent) {
    case "POSTROUTING":
      return spec.ipMasq ? masqueradeRules(spec).map((rule) => inWords(chain, rule)) : undefined;
    case "FORWARD":
      return spec.forward ? forwardRules(spec).map((rule) => inWords(chain, rule)) : undefined;
    case "DOCKER-USER":
    case "PREROUTING": {
      const rules = [
        ...(chain.parent === "PREROUTING" ? guardRules(spec) : []),
        ...overlayRules(spec, [peerSetName(spec.tag)]),
      ];
      return rules.length > 0 ? rules.map((rule) => inWords(chain, rule)) : undefined;
    }
  }
}

function inWords(chain: OwnChain, rule: PacketRule): Rule {
  const { mark, input, source, sourceSet, destination, udpPort, verdict } = rule;
  const bits = mark === undefined ? undefined : `0x${mark.toString(16)}`;
  return [
    ...(input === undefined ? [] : ["-i", input]),
    ...(bits === undefined ? [] : ["-m", "mark", "--mark", `${bits}/${bits}`]),
    ...address("-s", source),
    ...(sourceSet === undefined ? [] : ["-m", "set", "--match-set", sourceSet, "src"]),
    ...address("-d", destination),
    ...(udpPort === undefined ? [] : ["-p", "udp", "-m", "udp", "--dport", String(udpPort)]),
    ...commented(chain),
    "-j",
    ...TARGETS[verdict],
  ];
}

function address(option: string, match: AddressMatch | undefined): string[] {
  if (match === undefined) return [];
  return [...(match.outside ? ["!"] : []), option, match.prefix];
}

function commented(chain: OwnChain): string[] {
  return ["-m", "comment", "--comment", chain.comment];
}
