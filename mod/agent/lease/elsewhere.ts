import type { ExternalInterface } from "../../host/mod.ts";
import { formatIPv4, type Prefix } from "../../ip/mod.ts";
import type { Lease } from "../../lease/mod.ts";
import type { Netlink } from "../../sys/mod.ts";

/** A lease of this host, by another interface than the one that was taken. */
export interface LeaseElsewhere {
  readonly subnet: Prefix;
  /** The flag that is missing: `-iface=eth1`. */
  readonly flag: string;
  /** What there is to say, in a line. */
  readonly message: string;
}

/**
 * Where none is under the public IP of the interface that was taken: the lease that this host holds by
 * another one. So it is when a command was not given the `-iface` that the agent has.
 *
 * A lease with one of this host's addresses is not enough: behind Vagrant's NAT every host has 10.0.2.15.
 *
 * @param former the subnet that the agent has written down; without it there is nothing to go by
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
  // By address where one interface has both.
  const flag = name === external.name ? formatIPv4(publicIP) : name;
  return {
    ...{ subnet: former, flag: `-iface=${flag}` },
    message: `this host's lease ${former} is that of ${name} (${formatIPv4(publicIP)}), and ` +
      `${external.name} (${
        formatIPv4(external.address)
      }) was taken here: give the agent's -iface, -iface=${flag}`,
  };
}
