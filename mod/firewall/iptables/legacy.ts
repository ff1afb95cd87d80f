import { MULTICAST } from "../policy.ts";
import type { OwnChain } from "../rules.ts";
import { ruleOptions, splitWords } from "./save_format.ts";
import type { PreviousNetwork } from "../firewall_spec.ts";

/**
 * Finds the rules that flannel before 0.20 put straight into the built-in chains, and that are
 * left there after an upgrade: 0.7.1 removed its own only at an orderly stop, 0.8 to 0.19 changed
 * theirs, and both decide before a chain of ours is reached.
 *
 * | flannel | rules in POSTROUTING, N the network, P the host's subnet |
 * |---|---|
 * | 0.7.1 | `-s N -d N` RETURN; `-s N ! -d 224.0.0.0/4` MASQUERADE; `! -s N -d N` MASQUERADE |
 * | 0.8-0.19 | the same and, before the last, `! -s N -d P` RETURN |
 *
 * Later ones carry our comment, which is proof; they are found whatever their network. The rest is
 * told by its exact form and one of `networks`, and the RETURN rules count only beside one of the
 * MASQUERADE rules: alone they may be the operator's. ACCEPT rules in FORWARD (0.9.1-0.19) are
 * taken only with the comment. Without it they are what people wrote themselves for Docker 1.13.
 *
 * @param chain whose parent the rules stand in
 * @param rules the parent's rules, as iptables-save wrote them
 * @param networks what this host serves and served before
 * @returns those of `rules` that are flannel's
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

/** What flannel's rules in the parent ended in; a jump to a chain of ours is none of them. */
const VERDICTS: Readonly<Record<OwnChain["parent"], ReadonlySet<string>>> = {
  POSTROUTING: new Set(["-j RETURN", "-j MASQUERADE"]),
  FORWARD: new Set(["-j ACCEPT"]),
  "DOCKER-USER": new Set(),
  PREROUTING: new Set(),
};

function form(options: readonly string[]): string {
  return options.toSorted().join(" ");
}
