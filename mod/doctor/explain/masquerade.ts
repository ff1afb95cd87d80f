import { type AddressMatch, masqueradeRules } from "../../firewall/policy.ts";
import type { FirewallSpec } from "../../firewall/mod.ts";
import { type IPv4, Prefix } from "../../ip/mod.ts";

/** Addresses of a packet. */
export interface Packet {
  readonly source: IPv4;
  readonly destination: IPv4;
}

/**
 * Returns whether the agent's rules give a forwarded packet this host's address. The first matching rule decides.
 */
export function isMasqueraded(spec: FirewallSpec, { source, destination }: Packet): boolean {
  if (!spec.ipMasq) return false;
  const rule = masqueradeRules(spec).find((rule) =>
    // Only other programs set marks.
    rule.mark === undefined && matches(rule.source, source) &&
    matches(rule.destination, destination)
  );
  return rule !== undefined && rule.verdict.startsWith("masquerade");
}

function matches(match: AddressMatch | undefined, address: IPv4): boolean {
  if (match === undefined) return true;
  return Prefix.parse(match.prefix)!.contains(address) !== (match.outside ?? false);
}
