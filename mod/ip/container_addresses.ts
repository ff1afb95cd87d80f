import type { IPv4 } from "./ipv4.ts";
import type { Prefix } from "./prefix.ts";

/** Returns the address of a subnet's bridge: the first behind that of the subnet, as in FLANNEL_SUBNET. */
export function gatewayOf(subnet: Prefix): IPv4 {
  return subnet.address + 1;
}

/** Returns the addresses that containers can have: all but the subnet's first, last and the gateway's. */
export function containerRange(subnet: Prefix): { readonly first: IPv4; readonly last: IPv4 } {
  return { first: gatewayOf(subnet) + 1, last: subnet.last - 1 };
}

/**
 * Chooses the address of a container: the first free one behind the address that was given last. An address that was
 * returned rests as long as possible, since peers may still know its last holder.
 *
 * @param last address that was given last; one of another subnet counts as none
 * @param isTaken returns whether a container has an address
 * @returns `undefined` when all of {@linkcode containerRange} are taken
 */
export function freeAddress(
  subnet: Prefix,
  last: IPv4 | undefined,
  isTaken: (address: IPv4) => boolean,
): IPv4 | undefined {
  const range = containerRange(subnet);
  const { first } = range;
  const count = range.last + 1 - first;
  const begin = last === undefined || last < first || last > range.last ? 0 : last + 1 - first;
  for (let step = 0; step < count; step++) {
    const address = first + (begin + step) % count;
    if (!isTaken(address)) return address;
  }
  return undefined;
}
