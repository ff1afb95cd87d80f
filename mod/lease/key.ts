import { formatIPv4, parseIPv4, Prefix } from "../ip/mod.ts";

/** Prefix lengths have at most five bits in flannel, and no leading zeros, so that each subnet has one key. */
const KEY = /^(\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3})-(\d|[12]\d|3[01])$/;

/**
 * Returns the key of a lease below `<prefix>/subnets/`: `10.20.93.0-24` for 10.20.93.0/24.
 */
export function leaseKey(subnet: Prefix): string {
  return `${formatIPv4(subnet.address)}-${subnet.length}`;
}

/**
 * Parses a lease key. Ignores keys of dual-stack leases (`10.12.13.0-24&fd00::-56`), with host bits set or with
 * a length above 31.
 *
 * @returns the subnet, or `undefined` for other keys
 */
export function parseLeaseKey(key: string): Prefix | undefined {
  const match = KEY.exec(key);
  if (match === null) return undefined;
  const address = parseIPv4(match[1]!);
  if (address === undefined) return undefined;
  const subnet = new Prefix(address, Number(match[2]));
  return subnet.address === address ? subnet : undefined;
}
