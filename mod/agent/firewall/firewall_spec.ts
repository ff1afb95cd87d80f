import type { Network } from "../../../backends/backend.ts";
import { HostRoutes } from "../../../backends/host_routes.ts";
import { refusal } from "../../../backends/peers.ts";
import type { NetworkConfig } from "../../config/mod.ts";
import type { PreviousSubnet } from "../../export/mod.ts";
import {
  chainTag,
  type FirewallSpec,
  type Peer,
  type PreviousNetwork,
} from "../../firewall/mod.ts";
import type { Lease } from "../../lease/mod.ts";
import type { AgentOptions } from "../core/options.ts";

/** The options that determine the firewall rules. */
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
 * Returns the firewall rules for the agent's options.
 *
 * @param carrier the network's backend
 * @param isSourceStrict see {@linkcode SourcePolicy.isStrict}
 */
export function firewallSpec(
  flags: FirewallFlags,
  { network, subnet }: PreviousNetwork,
  { ingress, sourceCheck }: Pick<Network, "ingress" | "sourceCheck">,
  isSourceStrict: () => boolean,
): FirewallSpec {
  const { networkName, subnetFile, ipMasq, forwardRules: forward, dockerRules } = flags;
  return {
    ...{ tag: chainTag(networkName, subnetFile), network, subnet, ipMasq, forward },
    randomFully: !flags.masqRandomFullyDisable,
    // An operator who accepts forwarded packets by other means covers Docker's chains as well.
    ingress: forward && dockerRules ? ingress : undefined,
    guard: forward && sourceCheck !== undefined
      ? {
        ...(sourceCheck.port === undefined ? {} : { port: sourceCheck.port }),
        device: sourceCheck.by === "firewall" ? ingress.device : undefined,
        isStrict: isSourceStrict,
      }
      : undefined,
  };
}

/**
 * Returns the peers whose packets may arrive without encapsulation, without leases that every backend refuses.
 *
 * @param own this host's lease
 */
export function peersOf(
  leases: Iterable<Lease>,
  config: Pick<NetworkConfig, "network" | "subnetLen">,
  own: Lease,
): Peer[] {
  const { publicIP } = own.attributes;
  const rules = { config, own, publicIP, host: new HostRoutes(config.network) };
  const peers: Peer[] = [];
  for (const lease of leases) {
    if (refusal(lease, rules) !== undefined) continue;
    peers.push({ subnet: lease.subnet, publicIP: lease.attributes.publicIP });
  }
  return peers;
}

/** The network of an earlier run, where subnet.env names both of its parts. */
export function previousNetwork({ network, subnet }: PreviousSubnet): PreviousNetwork | undefined {
  return network && subnet ? { network, subnet } : undefined;
}
