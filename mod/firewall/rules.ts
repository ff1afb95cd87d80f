import type { FirewallSpec } from "./firewall.ts";
import {
  type AddressMatch,
  forwardRules,
  masqueradeRules,
  type PacketRule,
  type Verdict,
} from "./policy.ts";

/**
 * A rule in the words of iptables(8), without table and chain:
 * `["-s", "10.20.0.0/16", "-j", "ACCEPT"]`.
 */
export type Rule = readonly string[];

/** A chain of ours, and the built-in chain that leads to it by one jump. */
export interface OwnChain {
  readonly table: "nat" | "filter";
  readonly name: string;
  readonly parent: "POSTROUTING" | "FORWARD";
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

const CHAINS: readonly OwnChain[] = [MASQUERADE_CHAIN, FORWARD_CHAIN];

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
  }
}

function inWords(chain: OwnChain, { mark, source, destination, verdict }: PacketRule): Rule {
  const bits = mark === undefined ? undefined : `0x${mark.toString(16)}`;
  return [
    ...(bits === undefined ? [] : ["-m", "mark", "--mark", `${bits}/${bits}`]),
    ...address("-s", source),
    ...address("-d", destination),
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
