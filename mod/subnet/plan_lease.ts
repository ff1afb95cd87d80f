import type { NetworkConfig } from "../config/network_config.ts";
import type { IPv4, Prefix } from "../ip/mod.ts";
import type { Lease } from "../lease/mod.ts";
import { choose, describeUnusable, OutOfSubnetsError, preferred, withoutOwn } from "./acquire.ts";
import { isCompatible, type UnusableRange, unusableReason } from "./pick.ts";

/** The result that {@linkcode acquireLease} would have. */
export interface LeasePlan {
  /** The subnet that would be held. */
  readonly subnet: Prefix;
  /** The lease that it would be reused from; `undefined` when one would be created. */
  readonly reused: Lease | undefined;
  /** True when the subnet is one of many that are free: another may be taken in the end. */
  readonly isPicked: boolean;
  /** Leases with our public IP that do not fit the config, or this host, and would be removed. */
  readonly misfits: readonly Lease[];
}

/**
 * Returns the result that {@linkcode acquireLease} would have with these leases; writes nothing.
 *
 * @param previous the subnet this host had before
 * @param unusable what the subnet must not meet on this host
 * @throws {OutOfSubnetsError} when no subnet is free
 */
export function planLease(
  config: NetworkConfig,
  leases: readonly Lease[],
  publicIP: IPv4,
  previous: Prefix | undefined,
  unusable: readonly UnusableRange[] = [],
): LeasePlan {
  const own = leases.filter(({ attributes }) => attributes.publicIP === publicIP);
  const misfits = own.filter(({ subnet }) =>
    !isCompatible(config, subnet) || unusableReason(subnet, unusable) !== undefined
  );
  const reused = preferred(config, own, previous, unusable);
  if (reused !== undefined) return { subnet: reused.subnet, reused, isPicked: false, misfits };
  const taken = withoutOwn(leases, own).map(({ subnet }) => subnet);
  const subnet = choose(config, taken, { previous, unusable });
  if (subnet === undefined) {
    throw new OutOfSubnetsError(
      `out of subnets: all /${config.subnetLen} of ${config.network} that may be leased are` +
        describeUnusable(config, unusable),
    );
  }
  return {
    subnet,
    reused: undefined,
    isPicked: previous === undefined || !subnet.equals(previous),
    misfits,
  };
}
