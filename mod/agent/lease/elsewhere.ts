import type { ExternalInterface } from "../../host/mod.ts";
import { formatIPv4, type Prefix } from "../../ip/mod.ts";
import type { Lease } from "../../lease/mod.ts";
import type { Netlink } from "../../sys/mod.ts";

/** A lease of this host under the public IP of another interface than the chosen one. */
export interface LeaseElsewhere {
  readonly subnet: Prefix;
  /** The flag that is missing: `-iface=eth1`. */
  readonly flag: string;
  /** One line for the operator. */
  readonly message: string;
}

/**
 * Finds this host's lease under another interface when the chosen interface has none: the command was run
 * without the agent's `-iface`.
 *
 * A lease with an address of this host proves nothing: behind Vagrant's NAT every host has 10.0.2.15.
 *
 * @param former the subnet in subnet.env; without it the result is `undefined`
 */
export function leaseElsewhere(
  leases: readonly Lease[],
  external: Pick<ExternalInterface, "name" | "address" | "publicIP">,
  netlink: Pick<Netlink, "addresses" | "linkByIndex">,
  former: Prefix | undefined,
): LeaseElsewhere | undefined {
  if (leases.some(({ attributes }) => attributes.publicIP === external.publicIP)) return undefined;
  const publicIP = leases.find(({ subnet }) => former !== undefined && subnet.equals(former))
    ?.attributes.publicIP;
  const owner = netlink.addresses().find(({ address }) => address === publicIP);
  const name = owner && netlink.linkByIndex(owner.index)?.name;
  if (former === undefined || publicIP === undefined || name === undefined) return undefined;
  // Name the address when both are on one interface.
  const flag = name === external.name ? formatIPv4(publicIP) : name;
  return {
    ...{ subnet: former, flag: `-iface=${flag}` },
    message: `this host's lease ${former} belongs to ${name} (${formatIPv4(publicIP)}), but this ` +
      `command chose ${external.name} (${
        formatIPv4(external.address)
      }): pass the agent's -iface, -iface=${flag}`,
  };
}
