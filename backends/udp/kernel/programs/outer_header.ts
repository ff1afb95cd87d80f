import { type Assembler, R0, R1, R10, R2, R7, R8 } from "../../../../mod/sys/bpf/mod.ts";
import { OVERHEAD, type PathSettings, raw16, raw32 } from "./layout.ts";
import { IPPROTO_UDP } from "../../../../mod/sys/linux_constants.ts";

/** TTL of the outer packet, as the kernel's own (net.ipv4.ip_default_ttl). */
export const OUTER_TTL = 64;

/** Offsets of the fields that differ between packets. */
const LENGTH = 2;
const ID = 4;
const TTL = 8;
const CHECKSUM = 10;
const SOURCE = 12;
const DESTINATION = 16;
const SOURCE_PORT = 20;
const DESTINATION_PORT = 22;
const UDP_LENGTH = 24;
const UDP_CHECKSUM = 26;

/** Offset of flags and fragment offset. */
export const FRAGMENT = 6;
/** Flag: no router may fragment the packet (RFC 791). */
export const DONT_FRAGMENT = 0x4000;

/** Direction of a datagram between this host and the peer in R8. */
export type OuterDirection = "to peer" | "from peer";

/**
 * Writes IPv4 and UDP header of a datagram to the stack, 28 bytes from `at` on, for R7 bytes of inner packet with
 * `extra` bytes before it. The caller has written flags and fragment offset ({@linkcode FRAGMENT}). The UDP
 * checksum is 0, "none" (RFC 768): the inner packet has its own. Uses R0 to R5.
 *
 * In the direction "from peer", on the GRO path, the source port is 0. On a host with NAT the kernel detaches a
 * packet from its socket when the source port is not the one that the socket is connected to
 * (`nf_nat_ipv4_local_in`), and the GRO device's socket is not connected.
 */
export function outerHeader(
  at: number,
  direction: OuterDirection,
  { address, port }: PathSettings,
  extra = 0,
) {
  const start = 0x4500;
  const ttl = (OUTER_TTL << 8) | IPPROTO_UDP;
  // Sum of the constant fields; the sum does not depend on byte order (RFC 1071, 2.B).
  const constant = raw16(start) + raw16(ttl) + raw16(address >>> 16) + raw16(address & 0xffff);
  const [own, peer] = direction === "to peer" ? [SOURCE, DESTINATION] : [DESTINATION, SOURCE];
  return (a: Assembler) => {
    a.store(R10, at, raw16(start), 2)
      .mov(R1, R7).alu(R1, "add", OVERHEAD + extra).swap(R1, 16).store(R10, at + LENGTH, R1, 2)
      .call("get_prandom_u32").store(R10, at + ID, R0, 2)
      .store(R10, at + TTL, raw16(ttl), 2)
      .store(R10, at + own, raw32(address), 4)
      .store(R10, at + peer, R8, 4)
      .mov(R1, constant)
      .load(R2, R10, at + LENGTH, 2).alu(R1, "add", R2)
      .load(R2, R10, at + ID, 2).alu(R1, "add", R2)
      .load(R2, R10, at + FRAGMENT, 2).alu(R1, "add", R2)
      .load(R2, R10, at + peer, 2).alu(R1, "add", R2)
      .load(R2, R10, at + peer + 2, 2).alu(R1, "add", R2);
    for (let folds = 0; folds < 2; folds++) {
      a.mov(R2, R1).alu(R2, "rsh", 16).alu(R1, "and", 0xffff).alu(R1, "add", R2);
    }
    a.alu(R1, "xor", 0xffff).store(R10, at + CHECKSUM, R1, 2)
      .store(R10, at + SOURCE_PORT, direction === "to peer" ? raw16(port) : 0, 2)
      .store(R10, at + DESTINATION_PORT, raw16(port), 2)
      .mov(R1, R7).alu(R1, "add", 8 + extra).swap(R1, 16).store(R10, at + UDP_LENGTH, R1, 2)
      .store(R10, at + UDP_CHECKSUM, 0, 2);
  };
}
