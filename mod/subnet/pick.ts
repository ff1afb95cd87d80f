import type { NetworkConfig } from "../config/network_config.ts";
import { Prefix } from "../ip/mod.ts";

/** flannel's bound: the choice is among the first hundred free subnets. */
export const CANDIDATES = 100;

/** The range that subnets may be leased from. */
export type SubnetRange = Pick<NetworkConfig, "subnetLen" | "subnetMin" | "subnetMax">;

/** A range that this host's subnet must not meet. */
export interface UnusableRange {
  readonly prefix: Prefix;
  /** `meets 10.20.64.0/24, which an interface of this host is on` */
  readonly reason: string;
}

/** Why a subnet cannot be this host's; `undefined` when it can. */
export function unusableReason(
  subnet: Prefix,
  unusable: readonly UnusableRange[],
): string | undefined {
  return unusable.find(({ prefix }) => prefix.overlaps(subnet))?.reason;
}

/**
 * Chooses a subnet that overlaps none of the leased ones: uniformly among the first free ones,
 * walking from SubnetMin to SubnetMax in steps of one subnet.
 *
 * Random, so that hosts started together rarely meet; bounded, so that the walk is. Cost:
 * O(leases · log leases) for the sort, then one pass over the leases; however many subnets a lease
 * covers, it is one step.
 *
 * @param random returns a number in [0, 1), as `Math.random`
 * @param candidates free subnets to choose among, at most
 * @returns `undefined` when the range is exhausted
 */
export function pickSubnet(
  range: SubnetRange,
  leased: Iterable<Prefix>,
  random: () => number = Math.random,
  candidates = CANDIDATES,
): Prefix | undefined {
  const taken = [...leased].sort((a, b) => a.address - b.address || a.length - b.length);
  const size = 2 ** (32 - range.subnetLen);
  const free: number[] = [];
  // `takenUntil` is the last address covered by the prefixes passed so far; a short prefix may
  // cover many that follow it.
  let at = 0;
  let takenUntil = -1;
  for (
    let address = range.subnetMin;
    address <= range.subnetMax && free.length < candidates;
    address += size
  ) {
    while (at < taken.length && taken[at]!.address < address + size) {
      takenUntil = Math.max(takenUntil, taken[at]!.last);
      at++;
    }
    if (takenUntil < address) free.push(address);
    // The last of the subnets that are taken: the next step leads behind it.
    else address += Math.floor((takenUntil - address) / size) * size;
  }
  if (free.length === 0) return undefined;
  return new Prefix(free[Math.floor(random() * free.length)]!, range.subnetLen);
}

/** True when a lease of this subnet fits the configuration: right length and within the range. */
export function isCompatible(range: SubnetRange, subnet: Prefix): boolean {
  return subnet.length === range.subnetLen && subnet.address >= range.subnetMin &&
    subnet.address <= range.subnetMax;
}
