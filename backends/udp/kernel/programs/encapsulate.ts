import {
  type AssembledProgram,
  Assembler,
  BPF_ADJ_ROOM_MAC,
  BPF_F_ADJ_ROOM_ENCAP_L3_IPV4,
  BPF_F_ADJ_ROOM_ENCAP_L4_UDP,
  BPF_F_ADJ_ROOM_FIXED_GSO,
  BPF_FIB_LOOKUP_OUTPUT,
  FibResult,
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
} from "../../../../mod/sys/bpf/mod.ts";
import { OVERHEAD, type PathSettings, raw16, raw32, RoutePath, Traffic } from "./layout.ts";
import { DONT_FRAGMENT, FRAGMENT, outerHeader } from "./outer_header.ts";
import {
  add,
  countSegments,
  decrementTtl,
  drop,
  headerLength,
  lookup,
  pass,
  readable,
  tcpHeaders,
} from "./snippets.ts";
import {
  AF_INET,
  ETH_HLEN,
  ETH_P_IP,
  IPPROTO_TCP,
  IPPROTO_UDP,
} from "../../../../mod/sys/linux_constants.ts";

/** Offsets on the stack, below R10. */
const Stack = {
  /** Key of the map `routes`: 32, then the destination. */
  Route: -8,
  Destination: -4,
  /** Header length of the inner packet, u64. */
  HeaderLength: -16,
  /** Outer header of 28 bytes, then the first 12 of the inner one. */
  Outer: -64,
  Inner: -36,
  InnerTtl: -28,
  /** Length of the longest inner packet on the wire: of the packet, or of a GSO packet's segment. u64. */
  Largest: -72,
  /** {@linkcode Fib} */
  Fib: -176,
} as const;
const WRITTEN = OVERHEAD + 12;

/** `struct bpf_fib_lookup` of linux/bpf.h. */
const Fib = {
  Family: 0,
  Protocol: 1,
  SourcePort: 2,
  DestinationPort: 4,
  /** In host order. */
  Length: 6,
  Interface: 8,
  Source: 16,
  Destination: 32,
  Size: 64,
} as const;
/** net.ipv4.route.min_pmtu: the kernel stores no smaller path MTU. */
const MIN_PMTU = 552;

/** Optional features of the running kernel that the programs use. */
export interface Abilities {
  /** fib_lookup compares a length with the path MTU. */
  readonly pathMtu: boolean;
}

/**
 * Assembles the program at flannel0's egress: it encapsulates packets to peers that the kernel carries, and sends
 * them.
 *
 * It passes other packets unaltered to user space, which drops, answers or segments them: TTL 1 and less (flannel's
 * proxy drops those), unknown destinations (an ICMP error is due), packets that do not fit the interface or the
 * path, and GSO packets other than TCP (the stack would segment the outer datagram by the inner one's rule).
 *
 * R7 is the inner length, R8 the peer, R9 the segment size and then the number of packets.
 */
export function encapsulation(settings: PathSettings, abilities: Abilities): AssembledProgram {
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
    .jumpIf(R9, "!=", 0, "gso")
    .jumpIf(R7, ">", room, "pass")
    .store(R10, Stack.Largest, R7, 8)
    .mov(R9, 1)
    .jump("route");

  a.label("gso")
    .load(R5, R2, 9, 1).jumpIf(R5, "!=", IPPROTO_TCP, "pass")
    .include(tcpHeaders(0, Stack.HeaderLength))
    .mov(R2, R1).alu(R2, "add", R9).jumpIf(R2, ">", room, "pass")
    .store(R10, Stack.Largest, R2, 8)
    .include(countSegments(R7, R9));

  a.label("route")
    .include(lookup("routes", Stack.Route))
    .jumpIf(R0, "==", 0, "pass")
    .load(R1, R0, 4, 4).jumpIf(R1, "!=", RoutePath.Kernel, "pass")
    .load(R8, R0, 0, 4)
    .store(R10, Stack.Outer + FRAGMENT, 0, 2);
  if (abilities.pathMtu) a.include(fitsPath(settings));

  // The first step that alters the packet. It leaves a packet whole that it refuses, such as one that is in a
  // tunnel already.
  a.mov(R1, R6).mov(R2, OVERHEAD).mov(R3, BPF_ADJ_ROOM_MAC)
    // flannel0's MTU leaves room for the outer header: segments keep their size.
    .mov(R4, BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_ENCAP_L4_UDP)
    .call("skb_adjust_room").jumpIf(R0, "!=", 0, "pass");

  a.include(outerHeader(Stack.Outer, "to peer", settings))
    .include(decrementTtl(Stack.InnerTtl))
    .mov(R1, R6).mov(R2, 0).mov(R3, R10).alu(R3, "add", Stack.Outer).mov(R4, WRITTEN).mov(R5, 0)
    .call("skb_store_bytes").jumpIf(R0, "!=", 0, "dropSendRefused")
    // redirect_neigh silently drops a packet without room for its link-layer header.
    .mov(R1, R6).mov(R2, ETH_HLEN).mov(R3, 0)
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
 * Compares the packet's length with the MTU of the path to the peer in R8. A longer packet is passed to user space,
 * which fragments it or sends an ICMP error (RFC 1191). The others get DF, so that routers report a smaller MTU,
 * which the kernel stores with the route. The lookup costs some 100 ns; packets that fit any path skip it.
 *
 * A kernel that does not forward finds no path MTU. Then the packet has no DF, and routers may fragment it.
 */
function fitsPath({ underlay, address, port }: PathSettings) {
  return (a: Assembler) => {
    a.load(R1, R10, Stack.Largest, 8).alu(R1, "add", OVERHEAD).jumpIf(R1, "<=", MIN_PMTU, "fits");
    for (let at = 0; at < Fib.Size; at += 8) a.store(R10, Stack.Fib + at, 0, 8);
    a.store(R10, Stack.Fib + Fib.Family, AF_INET, 1)
      .store(R10, Stack.Fib + Fib.Protocol, IPPROTO_UDP, 1)
      .store(R10, Stack.Fib + Fib.SourcePort, raw16(port), 2)
      .store(R10, Stack.Fib + Fib.DestinationPort, raw16(port), 2)
      .store(R10, Stack.Fib + Fib.Length, R1, 2)
      .store(R10, Stack.Fib + Fib.Interface, underlay, 4)
      .store(R10, Stack.Fib + Fib.Source, raw32(address), 4)
      .store(R10, Stack.Fib + Fib.Destination, R8, 4)
      .mov(R1, R6).mov(R2, R10).alu(R2, "add", Stack.Fib).mov(R3, Fib.Size)
      .mov(R4, BPF_FIB_LOOKUP_OUTPUT)
      .call("fib_lookup")
      .jumpIf(R0, "==", FibResult.FRAG_NEEDED, "pass")
      .jumpIf(R0, "==", FibResult.SUCCESS, "df")
      .jumpIf(R0, "!=", FibResult.NO_NEIGH, "fits")
      .label("df")
      .store(R10, Stack.Outer + FRAGMENT, raw16(DONT_FRAGMENT), 2)
      .label("fits");
  };
}
