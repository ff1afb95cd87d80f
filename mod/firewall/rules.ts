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
 * A rule in the words of iptables(8), without table and chain:
 * `["-s", "10.20.0.0/16", "-j", "ACCEPT"]`.
 */
export type Rule = readonly string[];

/** A chain of flanneld, and the chain that leads to it by one jump: a built-in one, or Docker's for its users. */
export interface OwnChain {
  readonly table: "nat" | "filter" | "raw";
  readonly name: string;
  readonly parent: "POSTROUTING" | "FORWARD" | "DOCKER-USER" | "PREROUTING";
  /** On each of its rules; flannel's, so that either finds the other's after an exchange. */
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
 * Drops of forged packets; then the same acceptance before Docker's drops of packets to a container's address,
 * which it makes in raw.
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
 * True when Docker has made its chains in this set of rules; with `iptables=false` it makes none. While Docker
 * makes its own chain again, the rules of flanneld stay.
 *
 * @param tag of the network whose rules they are
 */
export function hasDockerChains(saved: SavedRules, tag?: string): boolean {
  const table = saved.get(INPUT_CHAIN.table);
  const isOwn = ({ parent }: OwnChain) => parent === INPUT_CHAIN.parent;
  return table !== undefined && table.has(INPUT_CHAIN.parent) &&
    (table.has(DOCKER_CHAIN) || ownChains(tag).some((own) => isOwn(own) && table.has(own.name)));
}

/** All chains of one network, in the order in which they are applied. */
export function ownChains(tag: string | undefined): readonly OwnChain[] {
  if (tag === undefined) return CHAINS;
  return CHAINS.map((chain) => ({ ...chain, name: `${chain.name}-${tag}` }));
}

/** The chain of that name and table, whichever network's it is; `undefined` for one of others. */
export function ownChainNamed(table: string, name: string): OwnChain | undefined {
  const chain = CHAINS.find((one) => one.table === table && isNamedAfter(name, one.name));
  return chain && { ...chain, name };
}

/** True for the base name and for that of a network with a tag. */
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

/** The jump in the parent that leads into a chain of ours. */
export function jumpRule(chain: OwnChain): Rule {
  return [...commented(chain), "-j", chain.name];
}

/** The rules that a chain of ours shall hold, in their order; `undefined` when it shall not be. */
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
