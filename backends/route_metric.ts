import type { NetworkConfig } from "../mod/config/mod.ts";
import type { Prefix } from "../mod/ip/mod.ts";

/** How many subnets' routes share one metric, see {@linkcode metricOf}. */
const SUBNETS_PER_METRIC = 256;

/**
 * The metric of a peer's route: 0 in a network of up to 256 subnets, like the guide's /16 of /24s,
 * and one more for each further 256.
 *
 * The kernel keeps routes that differ only in destination and gateway in one hash chain, and walks
 * it for each addition: 60,000 of one metric take 41 s, spread like this 0.2 s (see `Route.metric`
 * of mod/sys). A metric decides between routes to the same destination, and there is one route to
 * each subnet, so its value means nothing else.
 */
export function metricOf(
  subnet: Prefix,
  { network, subnetLen }: Pick<NetworkConfig, "network" | "subnetLen">,
): number {
  const index = (subnet.address - network.address) / 2 ** (32 - subnetLen);
  return Math.floor(index / SUBNETS_PER_METRIC);
}
