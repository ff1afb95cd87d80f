import { Prefix } from "../ip/mod.ts";
import { ConfigError } from "./errors.ts";

/** Shortest prefix of a Network: the largest private range is 10.0.0.0/8. */
const SHORTEST_NETWORK = 8;

/** Ranges that no container network can use, with their purpose (RFC 6890). */
const SPECIAL_RANGES: readonly (readonly [range: Prefix, purpose: string])[] = [
  [range("0.0.0.0/8"), "is for addresses of no host (RFC 1122)"],
  [range("127.0.0.0/8"), "is every host's loopback (RFC 1122)"],
  [range("169.254.0.0/16"), "is link-local, metadata services included (RFC 3927)"],
  [range("224.0.0.0/4"), "is multicast (RFC 5771)"],
  [range("240.0.0.0/4"), "is reserved (RFC 1112)"],
];

/** Private ranges: RFC 1918, and the shared range of RFC 6598. */
const PRIVATE_RANGES: readonly Prefix[] = [
  ...["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"].map(range),
];

/**
 * Checks that a Network is a range for a container network, on whichever host.
 *
 * @throws {ConfigError} when it is too large, or meets a range with a meaning of its own
 */
export function requireContainerRange(network: Prefix): void {
  if (network.length < SHORTEST_NETWORK) {
    throw new ConfigError(
      `Network ${network} is larger than a /${SHORTEST_NETWORK}: it would replace the hosts' routes to ` +
        "other networks; write for example 10.20.0.0/16",
    );
  }
  const met = SPECIAL_RANGES.find(([range]) => range.overlaps(network));
  if (met !== undefined) {
    throw new ConfigError(
      `Network ${network} meets ${met[0]}, which ${met[1]}; write for example 10.20.0.0/16`,
    );
  }
}

/** Returns whether the range is private, so that a route to it captures no traffic to the internet. */
export function isPrivateRange(network: Prefix): boolean {
  return PRIVATE_RANGES.some((range) => range.containsPrefix(network));
}

function range(text: string): Prefix {
  return Prefix.parse(text)!;
}
