import { Prefix } from "../ip/mod.ts";
import type { Firewall, FirewallOptions } from "./firewall.ts";
import { openFirewall } from "./open_firewall.ts";
import type { PreviousNetwork } from "./firewall_spec.ts";

/** Placeholder for a specification without rules. */
const NO_NETWORK = new Prefix(0, 0);

/**
 * Opens a firewall without desired rules: `check()` lists the rules of flanneld in all rule sets of the host, and
 * `ensure()` removes them. A host without a tool has none.
 *
 * @param previous network and subnet of the earlier run, which identify rules of an older flannel
 * @param tag suffix of the network's chains, see {@linkcode FirewallSpec.tag}
 * @throws {FirewallError} when no tool of the host works
 */
export function openFirewallCleaner(
  previous: PreviousNetwork | undefined,
  options: FirewallOptions = {},
  tag?: string,
): Promise<Firewall> {
  const nothing = { ipMasq: false, forward: false, randomFully: false };
  return openFirewall(
    { network: NO_NETWORK, subnet: NO_NETWORK, tag, ...nothing },
    previous,
    options,
  );
}
