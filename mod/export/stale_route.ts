import { formatIPv4, type Prefix } from "../ip/mod.ts";

/** RTF_GATEWAY of linux/route.h: the route has a gateway. */
const RTF_GATEWAY = 0x0002;

/**
 * Finds a route to this host's own subnet through another host, left from a time when that host had the subnet.
 * It would divert packets of this host's containers.
 *
 * @param table text of /proc/net/route: addresses are hexadecimal words in the machine's byte
 * order, which is little-endian on everything the runtime is built for
 * @returns the route as `ip route` writes it
 *
 * @example
 * ```ts
 * import { Prefix } from "../ip/mod.ts";
 * import { findStaleRoute } from "./stale_route.ts";
 * const table = await Deno.readTextFile("/proc/net/route");
 * console.assert(findStaleRoute(table, Prefix.parse("192.0.2.1/30")!) === undefined);
 * ```
 */
export function findStaleRoute(table: string, subnet: Prefix): string | undefined {
  for (const line of table.split("\n").slice(1)) {
    const [device, destination, gateway, flags, , , , mask] = line.trim().split(/\s+/);
    if (mask === undefined) continue;
    if (
      address(destination!) === subnet.address && address(mask) === subnet.mask &&
      (parseInt(flags!, 16) & RTF_GATEWAY) !== 0
    ) {
      return `${subnet} via ${formatIPv4(address(gateway!))} dev ${device}`;
    }
  }
  return undefined;
}

function address(word: string): number {
  const value = parseInt(word, 16);
  return ((value & 0xff) << 24 | (value & 0xff00) << 8 | value >>> 8 & 0xff00 | value >>> 24) >>> 0;
}
