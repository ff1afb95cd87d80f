/**
 * Position of the jump to a chain of flanneld in its parent chain.
 *
 * | parent | place | reason |
 * |---|---|---|
 * | POSTROUTING, FORWARD | at the end, before a rule that drops everything | others decide first |
 * | DOCKER-USER | at the end, before a `RETURN` of everything | the administrator's drops win, Docker's come after |
 * | PREROUTING (raw) | first, and always before Docker's drops | Docker appends its drops |
 *
 * @module
 */
import { jumpRule, type OwnChain, ownChainNamed } from "./rules.ts";
import { joinWords, ruleOptions, sameRule, splitWords } from "./iptables/save_format.ts";

/**
 * Returns whether a rule is the desired jump, at a position that packets reach in time.
 *
 * @param jump a rule of the parent, as iptables-save wrote it
 * @param rules all rules of the parent
 */
export function isGoodJump(chain: OwnChain, jump: string, rules: readonly string[]): boolean {
  if (!sameRule(splitWords(jump), jumpRule(chain))) return false;
  const at = rules.indexOf(jump);
  const isBefore = (test: (rule: string) => boolean) => {
    const end = rules.findIndex(test);
    return end < 0 || at < end;
  };
  switch (chain.parent) {
    case "POSTROUTING":
    case "FORWARD":
      return isBefore(isCatchAll);
    case "DOCKER-USER": {
      const rest = rules.slice(at + 1);
      const end = rest.findIndex(isReturnAll);
      const reached = end < 0 ? rest : rest.slice(0, end);
      return isBefore(isReturnAll) && reached.every((rule) => isOwnJump(chain, rule));
    }
    case "PREROUTING":
      return isBefore(isDockerDrop);
  }
}

/**
 * Returns the line of iptables-restore that inserts the jump at its position.
 *
 * @param rules rules of the parent without a former jump
 */
export function insertJump(chain: OwnChain, rules: readonly string[]): string {
  const at = position(chain, rules);
  const rule = joinWords(jumpRule(chain));
  return at < 0 ? `-A ${chain.parent} ${rule}` : `-I ${chain.parent} ${at + 1} ${rule}`;
}

/** Returns the index of the jump; -1 for the end. */
function position(chain: OwnChain, rules: readonly string[]): number {
  switch (chain.parent) {
    case "POSTROUTING":
    case "FORWARD":
      // CentOS's firewall has such a rule at the end of FORWARD.
      return rules.findIndex(isCatchAll);
    case "DOCKER-USER":
      // Docker before 28 ends the chain with a RETURN.
      return rules.findIndex(isReturnAll);
    case "PREROUTING":
      return 0;
  }
}

/** Returns whether a rule drops or rejects all packets. */
function isCatchAll(rule: string): boolean {
  if (!/-j (DROP|REJECT)/.test(rule)) return false;
  const options = ruleOptions(splitWords(rule));
  return options.some((option) => option === "-j DROP" || option === "-j REJECT") &&
    options.every((option) => /^(-j|--comment|--reject-with) /.test(option));
}

function isReturnAll(rule: string): boolean {
  if (!rule.includes("-j RETURN")) return false;
  const options = ruleOptions(splitWords(rule));
  return options.every((option) => option === "-j RETURN" || option.startsWith("--comment "));
}

/** Returns whether a rule drops packets to a container or its network from outside of its bridge. */
function isDockerDrop(rule: string): boolean {
  if (!rule.includes("-j DROP")) return false;
  const options = ruleOptions(splitWords(rule));
  return ["-j DROP", "-d ", "! -i "].every((start) =>
    options.some((option) => option.startsWith(start))
  );
}

/** Returns whether a rule jumps to the chain of any network of this host. */
function isOwnJump({ table, parent }: OwnChain, rule: string): boolean {
  const target = ruleOptions(splitWords(rule)).find((option) => option.startsWith("-j "));
  return target !== undefined && ownChainNamed(table, target.slice(3))?.parent === parent;
}
