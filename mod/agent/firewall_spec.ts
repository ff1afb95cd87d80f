import type { Ingress } from "../../backends/backend.ts";
import type { PreviousSubnet } from "../export/mod.ts";
import { chainTag, type FirewallSpec, type PreviousNetwork } from "../firewall/mod.ts";
import type { AgentOptions } from "./options.ts";

/** The options that decide on firewall rules. */
export type FirewallFlags = Pick<
  AgentOptions,
  | "subnetFile"
  | "networkName"
  | "ipMasq"
  | "forwardRules"
  | "dockerRules"
  | "masqRandomFullyDisable"
>;

/**
 * The rules that the agent's options ask for.
 *
 * @param ingress of the network's backend
 */
export function firewallSpec(
  flags: FirewallFlags,
  { network, subnet }: PreviousNetwork,
  ingress: Ingress,
): FirewallSpec {
  const { networkName, subnetFile, ipMasq, forwardRules: forward, dockerRules } = flags;
  return {
    ...{ tag: chainTag(networkName, subnetFile), network, subnet, ipMasq, forward },
    randomFully: !flags.masqRandomFullyDisable,
    // An operator who accepts forwarded packets by other means does so in Docker's chains, too.
    ingress: forward && dockerRules ? ingress : undefined,
  };
}

/** The network of an earlier run, where subnet.env names both of its parts. */
export function previousNetwork({ network, subnet }: PreviousSubnet): PreviousNetwork | undefined {
  return network && subnet ? { network, subnet } : undefined;
}
