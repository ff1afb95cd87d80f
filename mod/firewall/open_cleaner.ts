import { Prefix } from "../ip/mod.ts";
import type { Firewall, FirewallOptions } from "./firewall.ts";
import { openFirewall } from "./open_firewall.ts";
import type { PreviousNetwork } from "./firewall_spec.ts";

/** Stands for a network where none is asked for; no rule is about it. */
const NO_NETWORK = new Prefix(0, 0);

/**
 * A firewall that wants nothing: its `check()` lists what an agent has left in any of the host's sets
 * of rules, its `ensure()` takes it away. A host without a tool has nothing.
 *
 * @param previous what was served: rules of an older flannel outside our chains are found by it
 * @param tag of the network whose rules they are, see {@linkcode FirewallSpec.tag}
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
