/** Groups of 16 bits in an address. */
const GROUPS = 8;

/**
 * Parses an IPv6 prefix and clears its host bits.
 *
 * @param text for example `fd00:42:0:1::1/64`
 * @returns the prefix in Go's text form, lower case with the longest run of zeros compressed; `undefined` when the text
 * is none
 */
export function maskIPv6Prefix(text: string): string | undefined {
  const [, address, digits] = /^([0-9A-Fa-f:.]+)\/(\d{1,3})$/.exec(text) ?? [];
  const length = Number(digits);
  if (address === undefined || length > 128) return undefined;
  const canonical = canonicalAddress(address);
  if (canonical === undefined) return undefined;
  const masked = groupsOf(canonical).map((group, index) => {
    const bits = Math.min(16, Math.max(0, length - 16 * index));
    return group & (0xffff << (16 - bits)) & 0xffff;
  });
  const hex = masked.map((group) => group.toString(16)).join(":");
  return `${canonicalAddress(hex)}/${length}`;
}

/** The URL standard writes addresses as RFC 5952 does. */
function canonicalAddress(address: string): string | undefined {
  return URL.parse(`http://[${address}]/`)?.hostname.slice(1, -1);
}

function groupsOf(canonical: string): number[] {
  const [head = "", tail = ""] = canonical.split("::");
  const parse = (part: string) =>
    part === "" ? [] : part.split(":").map((group) => parseInt(group, 16));
  const [first, last] = [parse(head), parse(tail)];
  return [...first, ...Array(GROUPS - first.length - last.length).fill(0), ...last];
}
