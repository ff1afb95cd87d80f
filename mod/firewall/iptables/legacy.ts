import { MULTICAST } from "../policy.ts";
import type { OwnChain } from "../rules.ts";
import { ruleOptions, splitWords } from "./save_format.ts";
import type { PreviousNetwork } from "../firewall_spec.ts";

/**
 * Finds the rules of flannel before 0.20 in the built-in chains, which remain after an upgrade: 0.7.1 removed its
 * rules only at an orderly stop, 0.8 to 0.19 changed them, and both take effect before the chains of flanneld.
 *
 * | flannel | rules in POSTROUTING, N the network, P the host's subnet |
 * |---|---|
 * | 0.7.1 | `-s N -d N` RETURN; `-s N ! -d 224.0.0.0/4` MASQUERADE; `! -s N -d N` MASQUERADE |
 * | 0.8-0.19 | the same and, before the last, `! -s N -d P` RETURN |
 *
 * Rules of later versions have flannel's comment, which identifies them for any network. Other rules are identified by
 * their exact form and one of `networks`; the RETURN rules only beside a MASQUERADE rule, since alone they may be the
 * operator's. ACCEPT rules in FORWARD (0.9.1-0.19) need the comment: operators wrote the same rules for Docker 1.13.
 *
 * @param chain chain of flanneld in the parent
 * @param rules the parent's rules from iptables-save
 * @param networks present and former networks of this host
 * @returns flannel's rules
 */
export function legacyRules(
  chain: OwnChain,
  rules: readonly string[],
  networks: readonly PreviousNetwork[],
): string[] {
  const masquerades = new Set<string>();
  const returns = new Set<string>();
  for (const { network: n, subnet: p } of networks) {
    masquerades.add(form([`-s ${n}`, `! -d ${MULTICAST}`, "-j MASQUERADE"]));
    masquerades.add(form([`! -s ${n}`, `-d ${n}`, "-j MASQUERADE"]));
    returns.add(form([`-s ${n}`, `-d ${n}`, "-j RETURN"]));
    returns.add(form([`! -s ${n}`, `-d ${p}`, "-j RETURN"]));
  }
  const commented: string[] = [];
  const masquerading: string[] = [];
  const returning: string[] = [];
  for (const rule of rules) {
    const options = ruleOptions(splitWords(rule));
    if (options.includes(`--comment ${chain.comment}`)) {
      if (options.some((option) => VERDICTS[chain.parent].has(option))) commented.push(rule);
    } else if (chain.parent === "POSTROUTING") {
      const shape = form(options.filter((option) => option !== "--random-fully"));
      if (masquerades.has(shape)) masquerading.push(rule);
      else if (returns.has(shape)) returning.push(rule);
    }
  }
  return [...commented, ...masquerading, ...(masquerading.length > 0 ? returning : [])];
}

/** Targets of flannel's rules in the parent, without jumps to chains of flanneld. */
const VERDICTS: Readonly<Record<OwnChain["parent"], ReadonlySet<string>>> = {
  POSTROUTING: new Set(["-j RETURN", "-j MASQUERADE"]),
  FORWARD: new Set(["-j ACCEPT"]),
  "DOCKER-USER": new Set(),
  PREROUTING: new Set(),
};

function form(options: readonly string[]): string {
  return options.toSorted().join(" ");
}
