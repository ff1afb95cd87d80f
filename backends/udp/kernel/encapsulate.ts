import {
  type AssembledProgram,
  Assembler,
  BPF_ADJ_ROOM_MAC,
  BPF_F_ADJ_ROOM_ENCAP_L3_IPV4,
  BPF_F_ADJ_ROOM_ENCAP_L4_UDP,
  BPF_F_ADJ_ROOM_FIXED_GSO,
  R0,
  R1,
  R10,
  R2,
  R3,
  R4,
  R5,
  R6,
  R7,
  R8,
  R9,
  SkBuff,
} from "../../../mod/sys/bpf/mod.ts";
import { OVERHEAD, type PathSettings, raw16, raw32, Traffic } from "./layout.ts";
import {
  add,
  countSegments,
  decrementTtl,
  drop,
  ETH_P_IP,
  headerLength,
  lookup,
  pass,
  readable,
  TCP,
  tcpHeaders,
  UDP,
} from "./snippets.ts";

/** TTL of the outer packet, as the kernel's own (net.ipv4.ip_default_ttl). */
const OUTER_TTL = 64;
const ETHERNET_HEADER = 14;

/** The stack, below R10. */
const Stack = {
  /** Key of the routes: 32, then the destination. */
  Route: -8,
  Destination: -4,
  /** Header length of the inner packet, u64. */
  HeaderLength: -16,
  /** Outer header of 28 bytes, then the first 12 of the inner one. */
  Outer: -64,
  OuterLength: -62,
  OuterId: -60,
  OuterFragment: -58,
  OuterTtl: -56,
  OuterChecksum: -54,
  OuterSource: -52,
  OuterDestination: -48,
  UdpPorts: -44,
  UdpLength: -40,
  UdpChecksum: -38,
  Inner: -36,
  InnerTtl: -28,
} as const;
const WRITTEN = OVERHEAD + 12;

/**
 * The program at flannel0's egress: wraps what goes to a peer that is carried here, and sends it.
 *
 * It passes on, as it was, what user space has to judge or to cut: TTL 1 and less (flannel's proxy drops
 * those), unknown destinations (an ICMP error is due), packets that do not fit the interface, and super-packets of
 * anything but TCP (the stack would cut the outer datagram by the inner one's rule).
 *
 * R7 is the inner length, R8 the peer, R9 the segment size and then the number of packets.
 */
export function encapsulation(settings: PathSettings): AssembledProgram {
  const room = settings.mtu - OVERHEAD;
  const a = new Assembler();
  a.mov(R6, R1)
    .load(R2, R6, SkBuff.protocol, 4).jumpIf32(R2, "!=", raw16(ETH_P_IP), "pass")
    .include(readable(20))
    .include(headerLength(0))
    .load(R7, R2, 2, 2).swap(R7, 16)
    .jumpIf(R4, ">", R7, "pass")
    .load(R5, R6, SkBuff.len, 4).jumpIf(R5, "!=", R7, "pass")
    .jumpIf(R7, ">", 0xffff - OVERHEAD, "pass")
    .load(R5, R2, 8, 1).jumpIf(R5, "<=", 1, "pass")
    .store(R10, Stack.HeaderLength, R4, 8)
    .load(R5, R2, 0, 4).store(R10, Stack.Inner, R5, 4)
    .load(R5, R2, 4, 4).store(R10, Stack.Inner + 4, R5, 4)
    .load(R5, R2, 8, 4).store(R10, Stack.InnerTtl, R5, 4)
    .store(R10, Stack.Route, 32, 4)
    .load(R5, R2, 16, 4).store(R10, Stack.Destination, R5, 4)
    .load(R9, R6, SkBuff.gso_size, 4)
    .jumpIf(R9, "!=", 0, "super")
    .jumpIf(R7, ">", room, "pass")
    .mov(R9, 1)
    .jump("route");

  a.label("super")
    .load(R5, R2, 9, 1).jumpIf(R5, "!=", TCP, "pass")
    .include(tcpHeaders(0, Stack.HeaderLength))
    .mov(R2, R1).alu(R2, "add", R9).jumpIf(R2, ">", room, "pass")
    .include(countSegments(R7, R9));

  a.label("route")
    .include(lookup("routes", Stack.Route))
    .jumpIf(R0, "==", 0, "pass")
    .load(R1, R0, 4, 4).jumpIf(R1, "==", 0, "pass")
    .load(R8, R0, 0, 4);

  // The first step that alters the packet: what it refuses (a packet that is in a tunnel already) is
  // still whole.
  a.mov(R1, R6).mov(R2, OVERHEAD).mov(R3, BPF_ADJ_ROOM_MAC)
    // flannel0's MTU leaves the room: segments keep their size.
    .mov(R4, BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_ENCAP_L4_UDP)
    .call("skb_adjust_room").jumpIf(R0, "!=", 0, "pass");

  a.include((a) => outerHeader(a, settings))
    .include(decrementTtl(Stack.InnerTtl))
    .mov(R1, R6).mov(R2, 0).mov(R3, R10).alu(R3, "add", Stack.Outer).mov(R4, WRITTEN).mov(R5, 0)
    .call("skb_store_bytes").jumpIf(R0, "!=", 0, "dropSendRefused")
    // redirect_neigh drops a packet that has no room for its link-layer header, without a word.
    .mov(R1, R6).mov(R2, ETHERNET_HEADER).mov(R3, 0)
    .call("skb_change_head").jumpIf(R0, "!=", 0, "dropSendRefused")
    .store(R10, Stack.Destination, R8, 4)
    .include(lookup("peers", Stack.Destination))
    .jumpIf(R0, "==", 0, "send")
    .include(add(Traffic.sentPackets, R9))
    .include(add(Traffic.sentBytes, R7))
    .label("send")
    .mov(R1, settings.underlay).mov(R2, 0).mov(R3, 0).mov(R4, 0)
    .call("redirect_neigh").exit();
  return a.include(drop("dropSendRefused")).include(pass).assemble();
}

/**
 * Writes the outer header to the stack. DF is not set: where a path is narrower than the interface the routers
 * cut, and the receiver's stack joins the pieces for its user-space path. The UDP checksum is 0, "none" (RFC
 * 768): the inner packet has its own.
 */
function outerHeader(a: Assembler, { address, port }: PathSettings): void {
  const start = 0x4500;
  const ttl = (OUTER_TTL << 8) | UDP;
  // What does not vary of the header's sum; byte order does not matter to it (RFC 1071, 2.B).
  const constant = raw16(start) + raw16(ttl) + raw16(address >>> 16) + raw16(address & 0xffff);
  a.store(R10, Stack.Outer, raw16(start), 2)
    .mov(R1, R7).alu(R1, "add", OVERHEAD).swap(R1, 16).store(R10, Stack.OuterLength, R1, 2)
    .call("get_prandom_u32").store(R10, Stack.OuterId, R0, 2)
    .store(R10, Stack.OuterFragment, 0, 2)
    .store(R10, Stack.OuterTtl, raw16(ttl), 2)
    .store(R10, Stack.OuterSource, raw32(address), 4)
    .store(R10, Stack.OuterDestination, R8, 4)
    .mov(R1, constant)
    .load(R2, R10, Stack.OuterLength, 2).alu(R1, "add", R2)
    .load(R2, R10, Stack.OuterId, 2).alu(R1, "add", R2)
    .load(R2, R10, Stack.OuterDestination, 2).alu(R1, "add", R2)
    .load(R2, R10, Stack.OuterDestination + 2, 2).alu(R1, "add", R2);
  for (let folds = 0; folds < 2; folds++) {
    a.mov(R2, R1).alu(R2, "rsh", 16).alu(R1, "and", 0xffff).alu(R1, "add", R2);
  }
  a.alu(R1, "xor", 0xffff).store(R10, Stack.OuterChecksum, R1, 2)
    .store(R10, Stack.UdpPorts, raw16(port), 2)
    .store(R10, Stack.UdpPorts + 2, raw16(port), 2)
    .mov(R1, R7).alu(R1, "add", 8).swap(R1, 16).store(R10, Stack.UdpLength, R1, 2)
    .store(R10, Stack.UdpChecksum, 0, 2);
}
