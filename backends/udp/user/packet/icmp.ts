import * as ipv4 from "./ipv4.ts";
import type { PacketMemory } from "./memory.ts";
import { IPPROTO_ICMP } from "../../../../mod/sys/linux_constants.ts";

/** ICMP type 3, destination unreachable (RFC 792). */
const UNREACHABLE = 3;
/** Its codes: no route, and fragmentation needed but DF set (RFC 1191). */
export const NET_UNREACHABLE = 0;
export const FRAGMENTATION_NEEDED = 4;

const ICMP_HEADER = 8;
/** Bytes quoted behind the IP header: the ports, and TCP's sequence number (RFC 792). */
const QUOTED = 8;
/** TTL of flannel's proxy; errors only need to reach the local host. */
const ERROR_TTL = 8;

/** The longest error {@linkcode writeUnreachable} writes, in bytes. */
export const MAX_ERROR = ipv4.MIN_HEADER + ICMP_HEADER + ipv4.MAX_HEADER + QUOTED;

/** ICMP types that are errors: unreachable, source quench, redirect, time exceeded, parameter problem. */
const ERROR_TYPES: readonly number[] = [3, 4, 5, 11, 12];

/**
 * Returns whether an error about the packet at `at` may be sent (RFC 1122 3.2.2): not about an ICMP error, a later
 * fragment, or a packet from or to a multicast or broadcast address. As in flannel's proxy, also not about a packet
 * with a 60-byte header, and no "no route" about an ICMP packet, so that a ping to an unallocated subnet times out.
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
 * Writes an ICMP "destination unreachable" about a packet: 3/0, or 3/4 with the path MTU.
 *
 * Its source is the packet's destination. flannel's proxy uses the TUN device's own address, and Linux drops packets
 * that arrive from one of the host's own addresses as martians (fib_validate_source), so that those errors have no
 * effect.
 *
 * @param to offset at which the error is written
 * @param about offset of the packet, of which at least header and 8 bytes are readable
 * @param mtu path MTU in bytes for {@linkcode FRAGMENTATION_NEEDED}; else 0
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
