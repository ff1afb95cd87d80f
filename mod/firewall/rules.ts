import type { FirewallSpec } from "./firewall.ts";

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

/** All chains of ours, in the order in which they are applied. */
export const OWN_CHAINS: readonly OwnChain[] = [MASQUERADE_CHAIN, FORWARD_CHAIN];

/** IPv4 multicast, RFC 5771: it cannot leave through a masquerade. */
export const MULTICAST = "224.0.0.0/4";

/** kube-proxy's mark on packets that it masquerades itself; twice breaks some kernels. */
const KUBE_PROXY_MARK = "0x4000/0x4000";

/** The jump in the parent that leads into a chain of ours. */
export function jumpRule(chain: OwnChain): Rule {
  return rule(chain, [], "-j", chain.name);
}

/** The rules that a chain of ours shall hold, in their order; `undefined` when it shall not be. */
export function desiredRules(chain: OwnChain, spec: FirewallSpec): readonly Rule[] | undefined {
  switch (chain) {
    case MASQUERADE_CHAIN:
      return spec.ipMasq ? masqueradeRules(spec) : undefined;
    case FORWARD_CHAIN:
      return spec.forward ? forwardRules(spec) : undefined;
    default:
      return undefined;
  }
}

/**
 * Newer flannel's rules. Inside the network the source stays; from it to elsewhere, and from
 * elsewhere to containers of other hosts, it becomes this host's address, so that replies come
 * back here. From elsewhere to our own containers it stays: replies pass here anyway.
 */
function masqueradeRules({ network, subnet, randomFully }: FirewallSpec): Rule[] {
  const n = network.toString();
  const p = subnet.toString();
  const masquerade = ["-j", "MASQUERADE", ...(randomFully ? ["--random-fully"] : [])];
  const chain = MASQUERADE_CHAIN;
  return [
    rule(chain, ["-m", "mark", "--mark", KUBE_PROXY_MARK], "-j", "RETURN"),
    rule(chain, ["-s", p, "-d", n], "-j", "RETURN"),
    rule(chain, ["-s", n, "-d", p], "-j", "RETURN"),
    rule(chain, ["!", "-s", n, "-d", p], "-j", "RETURN"),
    rule(chain, ["-s", n, "!", "-d", MULTICAST], ...masquerade),
    rule(chain, ["!", "-s", n, "-d", n], ...masquerade),
  ];
}

function forwardRules({ network }: FirewallSpec): Rule[] {
  return [
    rule(FORWARD_CHAIN, ["-s", network.toString()], "-j", "ACCEPT"),
    rule(FORWARD_CHAIN, ["-d", network.toString()], "-j", "ACCEPT"),
  ];
}

function rule(chain: OwnChain, match: readonly string[], ...target: string[]): Rule {
  return [...match, "-m", "comment", "--comment", chain.comment, ...target];
}
