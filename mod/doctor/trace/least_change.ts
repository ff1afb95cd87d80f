import type { NamedRule } from "./rule_names.ts";

/** Match of one flow's packets in a rule. */
export interface FlowWords {
  /** Interface that they come in by; absent for those that this host sends itself. */
  readonly device?: string;
  /** Address or prefix; absent for any. */
  readonly source?: string;
  readonly destination?: string;
  /** UDP port of the tunnel, where they are its datagrams. */
  readonly udpPort?: number;
}

/**
 * Returns the least change that lets the flow pass the rule: one rule before it that accepts the flow and nothing
 * else.
 */
export function leastChange(rule: NamedRule, flow: FlowWords): string[] {
  return [rule.program === "nft" ? nftChange(rule, flow) : iptablesChange(rule, flow)];
}

function iptablesChange(rule: NamedRule, flow: FlowWords): string {
  const { place, program, isPolicy, number } = rule;
  const { table, chain } = place;
  const { device, source, destination, udpPort } = flow;
  // Some chains refuse -o or -i; source and destination are enough there.
  const hasInput = !["OUTPUT", "POSTROUTING"].includes(chain);
  return [
    program,
    ...(table === "filter" ? [] : ["-t", table]),
    // A policy counts after all rules.
    ...(isDocker(rule)
      ? ["-I", DOCKER_USER]
      : isPolicy || number === undefined
      ? ["-A", chain]
      : ["-I", chain, String(number)]),
    ...(device === undefined || !hasInput ? [] : ["-i", device]),
    ...(source === undefined ? [] : ["-s", source]),
    ...(destination === undefined ? [] : ["-d", destination]),
    ...(udpPort === undefined ? [] : ["-p", "udp", "--dport", String(udpPort)]),
    "-j",
    // In nat, ACCEPT leaves the packet as it is.
    "ACCEPT",
  ].join(" ");
}

function nftChange({ place, isPolicy }: NamedRule, flow: FlowWords): string {
  const { family, table, chain, handle } = place;
  const { device, source, destination, udpPort } = flow;
  return [
    `nft ${isPolicy ? "add" : "insert"} rule ${family} ${table} ${chain}`,
    ...(handle === undefined ? [] : [`handle ${handle}`]),
    ...(device === undefined ? [] : [`iifname "${device}"`]),
    ...(source === undefined ? [] : [`ip saddr ${source}`]),
    ...(destination === undefined ? [] : [`ip daddr ${destination}`]),
    ...(udpPort === undefined ? [] : [`udp dport ${udpPort}`]),
    "accept",
  ].join(" ");
}

/** Docker's chain for the administrator, which Docker passes before its own and does not empty. */
const DOCKER_USER = "DOCKER-USER";

/** Returns whether a chain is Docker's own, which Docker creates again at its next start. */
function isDocker({ place: { table, chain }, beside }: NamedRule): boolean {
  return table === "filter" && /^DOCKER(-|$)/.test(chain) && chain !== DOCKER_USER &&
    beside.includes(DOCKER_USER);
}
