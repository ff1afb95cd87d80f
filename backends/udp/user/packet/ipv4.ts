/**
 * IPv4 headers (RFC 791) in place. Each function takes the view and the offset of the header's first byte. Numbers are
 * in host order, addresses as in mod/ip.
 *
 * {@linkcode packetLength} validates a packet: the other functions read only within packets that it accepts.
 *
 * @module
 */
import { fold, swap16, updateChecksum } from "../../../../mod/ip/checksum.ts";
import type { PacketMemory } from "./memory.ts";

/** Length of a header without options, in bytes. */
export const MIN_HEADER = 20;
/** Maximum length of a header and of a packet, in bytes. */
export const MAX_HEADER = 60;
export const MAX_PACKET = 65535;

/** Offsets in the header, in bytes. */
export const TOS = 1;
export const TOTAL_LENGTH = 2;
export const IDENTIFICATION = 4;
export const FRAGMENT = 6;
export const TTL = 8;
export const PROTOCOL = 9;
export const CHECKSUM = 10;
export const SOURCE = 12;
export const DESTINATION = 16;

const DONT_FRAGMENT = 0x4000;
const MORE_FRAGMENTS = 0x2000;
const FRAGMENT_OFFSET = 0x1fff;

/**
 * Checks that the `available` bytes at `at` begin with an IPv4 packet: version 4, a valid header length, and a total
 * length that is at least the header's and at most `available`.
 *
 * It does not check the header checksum: as with flannel the kernel does, whose counters operators know.
 *
 * @returns the total length, or 0 for anything else. Bytes after the total length are padding.
 */
export function packetLength(view: DataView, at: number, available: number): number {
  if (available < MIN_HEADER) return 0;
  const first = view.getUint8(at);
  if ((first >>> 4) !== 4) return 0;
  const header = (first & 15) * 4;
  const total = view.getUint16(at + TOTAL_LENGTH);
  return header >= MIN_HEADER && total >= header && total <= available ? total : 0;
}

/** Header length in bytes, options included. */
export function headerLength(view: DataView, at: number): number {
  return (view.getUint8(at) & 15) * 4;
}

/** Returns whether a packet is a fragment, also the first one. */
export function isFragment(view: DataView, at: number): boolean {
  return (view.getUint16(at + FRAGMENT) & (MORE_FRAGMENTS | FRAGMENT_OFFSET)) !== 0;
}

/** Returns whether a packet is a fragment after the first, which has no ports. */
export function isLaterFragment(view: DataView, at: number): boolean {
  return (view.getUint16(at + FRAGMENT) & FRAGMENT_OFFSET) !== 0;
}

/** Returns whether DF is set: the sender does path MTU discovery. */
export function dontFragment(view: DataView, at: number): boolean {
  return (view.getUint16(at + FRAGMENT) & DONT_FRAGMENT) !== 0;
}

/**
 * Decrements the TTL and updates the header checksum (RFC 1624). A wrong checksum stays wrong.
 *
 * @returns false, with the packet unaltered, when the TTL does not permit forwarding
 */
export function decrementTtl(view: DataView, at: number): boolean {
  const before = view.getUint16(at + TTL);
  if (before < 0x0200) return false;
  const after = before - 0x0100;
  view.setUint16(at + TTL, after);
  view.setUint16(at + CHECKSUM, updateChecksum(view.getUint16(at + CHECKSUM), before, after));
  return true;
}

/** Computes and stores the header checksum. */
export function setHeaderChecksum(memory: PacketMemory, at: number): void {
  const { view } = memory;
  view.setUint16(at + CHECKSUM, 0);
  const sum = memory.sum(at, headerLength(view, at));
  view.setUint16(at + CHECKSUM, ~sum & 0xffff, true);
}

/**
 * Computes the sum of the pseudo-header (RFC 793 3.1, RFC 768) of the packet at `at`, folded, little-endian as all
 * sums (see checksum.ts).
 *
 * @param length bytes after the IPv4 header
 */
export function pseudoHeaderSum(
  view: DataView,
  at: number,
  protocol: number,
  length: number,
): number {
  return fold(
    view.getUint32(at + SOURCE, true) + view.getUint32(at + DESTINATION, true) +
      swap16(protocol) + swap16(length),
  );
}
