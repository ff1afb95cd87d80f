/**
 * IPv4 addresses as unsigned 32-bit numbers.
 *
 * Numbers, not objects: an agent holds one per lease, and compares, masks and hashes them on every
 * event. The value is in host order (10.0.0.1 is 0x0a000001); network order appears only where
 * bytes are written (see {@linkcode ipv4ToBytes}).
 *
 * @module
 */

/** An IPv4 address, 0 to 2^32-1, in host order. */
export type IPv4 = number;

const DOTTED = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/;

/**
 * Parses a dotted quad as Go's `net.ParseIP` does: four decimal numbers, no leading zeros.
 *
 * @param text for example `10.20.93.0`
 * @returns the address, or `undefined` when the text is not one
 */
export function parseIPv4(text: string): IPv4 | undefined {
  const match = DOTTED.exec(text);
  if (match === null) return undefined;
  let address = 0;
  for (let i = 1; i <= 4; i++) {
    const digits = match[i]!;
    const octet = Number(digits);
    if (octet > 255 || (digits.length > 1 && digits[0] === "0")) return undefined;
    address = address * 256 + octet;
  }
  return address;
}

/** Formats an address as a dotted quad. */
export function formatIPv4(address: IPv4): string {
  return `${address >>> 24}.${(address >>> 16) & 255}.${(address >>> 8) & 255}.${address & 255}`;
}

/** The address as four bytes in network order. */
export function ipv4ToBytes(address: IPv4): Uint8Array<ArrayBuffer> {
  return Uint8Array.of(address >>> 24, address >>> 16, address >>> 8, address);
}

/** True for 169.254.0.0/16 (RFC 3927). */
export function isLinkLocal(address: IPv4): boolean {
  return (address >>> 16) === 0xa9fe;
}

/** True for 240.0.0.0/4 (RFC 1112, section 4), the limited broadcast included: no host has such an address. */
export function isClassE(address: IPv4): boolean {
  return (address >>> 28) === 0xf;
}

/**
 * Go's `IP.IsGlobalUnicast`: anything but unspecified, loopback, multicast, link-local and the
 * limited broadcast. Private ranges (RFC 1918) count as global.
 */
export function isGlobalUnicast(address: IPv4): boolean {
  return address !== 0 && address !== 0xffffffff && (address >>> 24) !== 127 &&
    (address >>> 28) !== 0xe && !isLinkLocal(address);
}
