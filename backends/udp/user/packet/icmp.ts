import * as ipv4 from "./ipv4.ts";
import type { PacketMemory } from "./memory.ts";
import { IPPROTO_ICMP } from "../../../../mod/sys/linux_constants.ts";

/** ICMP type 3, destination unreachable (RFC 792). */
const UNREACHABLE = 3;
/** Codes of it: no route, and (RFC 1191) a packet that is too big to pass whole. */
export const NET_UNREACHABLE = 0;
export const FRAGMENTATION_NEEDED = 4;

const ICMP_HEADER = 8;
/** What is quoted behind the IP header: the ports, or TCP's sequence number as well. */
const QUOTED = 8;
/** flannel's proxy sends its errors with this TTL; they only have to reach the host itself. */
const ERROR_TTL = 8;

/** The longest error {@linkcode writeUnreachable} writes, in bytes. */
export const MAX_ERROR = ipv4.MIN_HEADER + ICMP_HEADER + ipv4.MAX_HEADER + QUOTED;

/** ICMP types that are errors themselves: unreachable, quench, redirect, exceeded, parameter. */
const ERROR_TYPES: readonly number[] = [3, 4, 5, 11, 12];

/**
 * True when an error about the packet at `at` may be sent (RFC 1122 3.2.2): never about an error, a
 * later fragment, or what comes from or goes to groups and broadcasts. And, as flannel's proxy has
 * it, not about a full 60-byte header, and no "no route" about any ICMP, so that a ping to an
 * unallocated subnet times out.
 */
export function mayReport(view: DataView, at: number, code: number): boolean {
  const source = view.getUint32(at + ipv4.SOURCE);
  if (
    ipv4.isLaterFragment(view, at) || ipv4.headerLength(view, at) >= ipv4.MAX_HEADER ||
    source === 0 || (source >>> 28) >= 0xe || (view.getUint32(at + ipv4.DESTINATION) >>> 28) >= 0xe
  ) return false;
  if (view.getUint8(at + ipv4.PROTOCOL) !== IPPROTO_ICMP) return true;
  return code !== NET_UNREACHABLE &&
    !ERROR_TYPES.includes(view.getUint8(at + ipv4.headerLength(view, at)));
}

/**
 * Writes an ICMP "destination unreachable" about a packet: 3/0, or 3/4 with the MTU that would do.
 *
 * It comes from the address that the packet was sent to. flannel's proxy names the TUN device's own
 * address instead, and Linux drops what arrives on a device from one of the host's own addresses as
 * a martian (fib_validate_source), so that its errors never reach anybody.
 *
 * @param to where the error is written
 * @param about offset of the packet, of which at least header and 8 bytes are readable
 * @param mtu for {@linkcode FRAGMENTATION_NEEDED} the size that fits, in bytes; else 0
 * @returns length of the error in bytes
 */
export function writeUnreachable(
  memory: PacketMemory,
  to: number,
  about: number,
  code: number,
  mtu = 0,
): number {
  const { bytes, view } = memory;
  const available = view.getUint16(about + ipv4.TOTAL_LENGTH);
  const quoted = Math.min(ipv4.headerLength(view, about) + QUOTED, available);
  const length = ipv4.MIN_HEADER + ICMP_HEADER + quoted;
  bytes.copyWithin(to + ipv4.MIN_HEADER + ICMP_HEADER, about, about + quoted);

  view.setUint16(to, 0x4500);
  view.setUint16(to + ipv4.TOTAL_LENGTH, length);
  view.setUint32(to + ipv4.IDENTIFICATION, 0);
  view.setUint8(to + ipv4.TTL, ERROR_TTL);
  view.setUint8(to + ipv4.PROTOCOL, IPPROTO_ICMP);
  view.setUint32(to + ipv4.SOURCE, view.getUint32(about + ipv4.DESTINATION));
  view.setUint32(to + ipv4.DESTINATION, view.getUint32(about + ipv4.SOURCE));
  ipv4.setHeaderChecksum(memory, to);

  const icmp = to + ipv4.MIN_HEADER;
  view.setUint16(icmp, (UNREACHABLE << 8) | code);
  view.setUint16(icmp + 2, 0);
  view.setUint32(icmp + 4, mtu);
  view.setUint16(icmp + 2, ~memory.sum(icmp, length - ipv4.MIN_HEADER) & 0xffff, true);
  return length;
}
