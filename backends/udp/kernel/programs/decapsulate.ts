import {
  type AssembledProgram,
  Assembler,
  BPF_ADJ_ROOM_MAC,
  BPF_F_ADJ_ROOM_FIXED_GSO,
  BPF_F_CURRENT_NETNS,
  BPF_F_INGRESS,
  BPF_F_RECOMPUTE_CSUM,
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
  Verdict,
} from "../../../../mod/sys/bpf/mod.ts";
import {
  GRO_HEADERS,
  GroCount,
  GroValue,
  OVERHEAD,
  type PathSettings,
  raw16,
  raw32,
  RoutePath,
  Traffic,
} from "./layout.ts";
import { FRAGMENT, outerHeader } from "./outer_header.ts";
import {
  add,
  count,
  countSegments,
  decrementTtl,
  drop,
  headerLength,
  lookup,
  pass,
  readable,
  sameSecret,
  tcpHeaders,
} from "./snippets.ts";
import {
  ETH_HLEN,
  ETH_P_IP,
  IPPROTO_TCP,
  IPPROTO_UDP,
} from "../../../../mod/sys/linux_constants.ts";

/** linux/if_packet.h */
const PACKET_HOST = 0;
const PACKET_BROADCAST = 1;
/** Flag "more fragments", and the fragment offset. */
const IS_FRAGMENT = 0x3fff;

/** Offsets in the packet, in bytes. */
const Outer = {
  Start: 14,
  Length: 16,
  Fragment: 20,
  Protocol: 23,
  Source: 26,
  Destination: 30,
  Port: 36,
  UdpLength: 38,
  UdpChecksum: 40,
} as const;
const INNER = ETH_HLEN + OVERHEAD;
const MIN_HEADER = 20;

/** Offsets on the stack, below R10. */
const Stack = {
  /** Key of the map `routes`: 32, then the inner source. */
  Route: -8,
  Source: -4,
  HeaderLength: -16,
  /** Pointer to the sender's value in the map `peers`. */
  Peer: -24,
  /** First twelve bytes of the inner packet. */
  Inner: -36,
  InnerTtl: -28,
  Sender: -40,
  Destination: -44,
  UdpChecksum: -46,
  /** `struct bpf_sock_tuple`: source and destination, then their ports. */
  Tuple: -64,
  /** Socket of the GRO device, and the result of assigning the packet to it. */
  Socket: -72,
  Assigned: -80,
  /** Key of the map `gro`. */
  GroKey: -84,
  /** First bytes of a packet on the GRO path: outer headers, VXLAN and Ethernet header, part of the inner header. */
  Gro: -168,
  GroHeaders: -140,
  GroInner: -118,
} as const;
/** Bytes of the inner packet that are written. */
const WRITTEN = 12;
/** Bytes of the inner packet that are removed, and written again, to drop a partial checksum. */
const EXCESS = 8;

/**
 * Assembles the program at the external interface's ingress: it decapsulates datagrams of peers that the kernel
 * carries, and redirects the packets to flannel0 as received.
 *
 * Only a kernel sends datagrams without a checksum, so of a holder whose packets are only accepted it takes those.
 *
 * It accepts a datagram that is addressed to this host, is no fragment, and contains exactly one IPv4 packet, from
 * the host whose lease holds the inner source, to this host's lease. It drops and counts unknown senders, inner
 * destinations outside this host's lease and spoofed sources. All other datagrams pass unaltered to the socket:
 * segment batches (several packets in one buffer), fragments, TTL 1, malformed packets.
 *
 * TCP to other addresses than this host's own, usually to containers, takes the GRO path while it is open.
 *
 * R7 is the inner length, R8 the sender, R9 the segment size and then the number of packets.
 */
export function decapsulation(settings: PathSettings): AssembledProgram {
  const { own, network, acceptAny, strictSource } = settings;
  // With acceptAny user space decides.
  const judge = (reason: "dropReceiveUnknownSender" | "dropReceiveSpoofed") =>
    acceptAny ? "pass" : reason;
  const a = new Assembler();
  a.mov(R6, R1)
    .load(R2, R6, SkBuff.protocol, 4).jumpIf32(R2, "!=", raw16(ETH_P_IP), "pass")
    .load(R2, R6, SkBuff.pkt_type, 4).jumpIf32(R2, "!=", PACKET_HOST, "pass")
    .load(R2, R6, SkBuff.vlan_present, 4).jumpIf32(R2, "!=", 0, "pass")
    .include(readable(INNER + MIN_HEADER))
    .load(R4, R2, Outer.Protocol, 1).jumpIf32(R4, "!=", IPPROTO_UDP, "pass")
    .load(R4, R2, Outer.Port, 2).jumpIf32(R4, "!=", raw16(settings.port), "pass")
    .load(R4, R2, Outer.Destination, 4).jumpIf32(R4, "!=", raw32(settings.address), "pass")
    .load(R4, R2, Outer.Start, 1).jumpIf32(R4, "!=", 0x45, "pass")
    .load(R4, R2, Outer.Fragment, 2).jumpIf32(R4, "set", raw16(IS_FRAGMENT), "pass")
    .load(R8, R2, Outer.Source, 4);

  // The datagram, and the packet in it.
  a.load(R7, R2, Outer.UdpLength, 2).swap(R7, 16)
    .jumpIf(R7, "<", 8 + MIN_HEADER, "pass")
    .alu(R7, "sub", 8)
    .load(R4, R2, Outer.Length, 2).swap(R4, 16)
    .mov(R5, R7).alu(R5, "add", OVERHEAD).jumpIf(R4, "!=", R5, "pass")
    .alu(R5, "add", ETH_HLEN)
    .load(R4, R6, SkBuff.len, 4).jumpIf(R4, "<", R5, "pass")
    .include(headerLength(INNER, "noPacket"))
    .jumpIf(R4, ">", R7, "pass")
    .store(R10, Stack.HeaderLength, R4, 8)
    .load(R4, R2, INNER + 2, 2).swap(R4, 16).jumpIf(R4, "!=", R7, "pass")
    .load(R4, R2, INNER, 4).store(R10, Stack.Inner, R4, 4)
    .load(R4, R2, INNER + 4, 4).store(R10, Stack.Inner + 4, R4, 4)
    .load(R4, R2, INNER + 8, 4).store(R10, Stack.InnerTtl, R4, 4)
    .store(R10, Stack.Route, 32, 4)
    .load(R4, R2, INNER + 12, 4).store(R10, Stack.Source, R4, 4)
    .load(R4, R2, INNER + 16, 4).swap(R4, 32).store(R10, Stack.Destination, R4, 4)
    .load(R4, R2, Outer.UdpChecksum, 2).store(R10, Stack.UdpChecksum, R4, 2);

  // GSO packets: only TCP, from a peer whose kernel encapsulates as this one does.
  a.load(R9, R6, SkBuff.gso_size, 4)
    .jumpIf(R9, "==", 0, "single")
    .jumpIf(R4, "!=", 0, "pass")
    .load(R4, R10, Stack.InnerTtl + 1, 1).jumpIf(R4, "!=", IPPROTO_TCP, "pass")
    .include(tcpHeaders(INNER, Stack.HeaderLength))
    .include(countSegments(R7, R9))
    .jump("judge")
    .label("single")
    .mov(R9, 1);

  a.label("judge")
    .store(R10, Stack.Sender, R8, 4)
    .include(lookup("peers", Stack.Sender))
    .jumpIf(R0, "==", 0, judge("dropReceiveUnknownSender"))
    .store(R10, Stack.Peer, R0, 8)
    .load(R1, R10, Stack.Destination, 4)
    .alu32(R1, "and", own.mask)
    .jumpIf32(R1, "!=", own.address, "dropReceiveForeign")
    .include(lookup("routes", Stack.Route))
    .jumpIf(R0, "==", 0, "unlisted")
    .load(R1, R0, 0, 4).jumpIf32(R1, "!=", R8, judge("dropReceiveSpoofed"))
    .load(R1, R0, 4, 4).jumpIf(R1, "==", RoutePath.User, "pass")
    .jumpIf(R1, "==", RoutePath.Kernel, "accepted")
    .load(R1, R10, Stack.UdpChecksum, 2).jumpIf(R1, "!=", 0, "pass")
    .label("accepted")
    .load(R1, R10, Stack.InnerTtl, 1).jumpIf(R1, "<=", 1, "pass")
    .load(R1, R10, Stack.UdpChecksum, 2).jumpIf(R1, "!=", 0, "summed")
    .include(redirectThroughGro(settings))
    .label("direct");

  const accepted = (a: Assembler) =>
    a.include(countReceived)
      .mov(R1, settings.device).mov(R2, BPF_F_INGRESS)
      .call("redirect").exit();

  // The usual case: removes the outer header and decrements the inner TTL. A partial checksum belongs to the inner
  // packet and stays partial.
  a.include(resize(-OVERHEAD)).jumpIf(R0, "!=", 0, "pass")
    .include(decrementTtl(Stack.InnerTtl))
    .include(write(Stack.InnerTtl, ETH_HLEN + 8, 4, 0))
    .jumpIf(R0, "!=", 0, "dropReceiveRefused")
    .include(accepted);

  // A user-space peer has summed the datagram, on a virtual wire only partially: `skb->csum_start` points into the
  // outer header. The kernel clears it when the bytes there are removed and later ones written. Therefore the
  // program also removes the inner packet's first bytes, and writes them again.
  a.label("summed")
    .include(resize(-OVERHEAD - EXCESS)).jumpIf(R0, "!=", 0, "pass")
    .include(decrementTtl(Stack.InnerTtl))
    .include(write(Stack.InnerTtl, ETH_HLEN, 4, BPF_F_RECOMPUTE_CSUM))
    .jumpIf(R0, "!=", 0, "dropReceiveRefused")
    .mov(R1, R6).mov(R2, EXCESS).mov(R3, BPF_ADJ_ROOM_MAC).mov(R4, 0)
    .call("skb_adjust_room").jumpIf(R0, "!=", 0, "dropReceiveRefused")
    .include(write(Stack.Inner, ETH_HLEN, EXCESS, BPF_F_RECOMPUTE_CSUM))
    .jumpIf(R0, "!=", 0, "dropReceiveRefused")
    .include(accepted);

  // A datagram without an IPv4 packet is a probe of this host, which has the GRO headers already, or passes.
  a.label("noPacket").include(probeThroughGro(settings));

  // No lease holds the inner source: in the network it is spoofed, outside of it user space decides.
  a.label("unlisted");
  if (strictSource) a.jump(judge("dropReceiveSpoofed"));
  else {
    a.load(R1, R10, Stack.Source, 4).swap(R1, 32).alu32(R1, "and", network.mask)
      .jumpIf32(R1, "==", network.address, judge("dropReceiveSpoofed"))
      .jump("pass");
  }
  a.include(drop("dropReceiveForeign")).include(drop("dropReceiveRefused"));
  if (!acceptAny) {
    a.include(drop("dropReceiveUnknownSender")).include(drop("dropReceiveSpoofed"));
  }
  return a.include(pass).assemble();
}

/**
 * Adds VXLAN and Ethernet header to a TCP packet that is not for this host itself, and passes it to the stack,
 * which delivers it to the GRO device's socket. Jumps to `direct`, with the packet unaltered, where that is not
 * possible.
 *
 * The destination port stays flannel's, so that the firewall sees the datagrams of a peer in user space. The
 * program therefore looks the socket up itself.
 */
function redirectThroughGro(settings: PathSettings) {
  return (a: Assembler) => {
    a.load(R1, R10, Stack.InnerTtl + 1, 1).jumpIf(R1, "!=", IPPROTO_TCP, "direct")
      .load(R1, R10, Stack.Destination, 4).jumpIf32(R1, "==", settings.own.address, "direct")
      .store(R10, Stack.GroKey, 0, 4)
      .include(lookup("gro", Stack.GroKey)).jumpIf(R0, "==", 0, "direct")
      .load(R2, R0, GroValue.Port, 2).jumpIf(R2, "==", 0, "direct");
    for (const [size, from, to] of [[4, 0, 20], [2, 20, GRO_HEADERS]] as const) {
      for (let at = from; at < to; at += size) {
        a.load(R1, R0, GroValue.Headers + at, size).store(R10, Stack.GroHeaders + at, R1, size);
      }
    }
    a.include(assign(settings, "direct"))
      .include(resize(GRO_HEADERS)).jumpIf(R0, "!=", 0, "dropReceiveRefused")
      .store(R10, Stack.Gro + FRAGMENT, 0, 2)
      .include(outerHeader(Stack.Gro, "from peer", settings, GRO_HEADERS))
      .include(decrementTtl(Stack.InnerTtl));
    for (let at = 0; at < WRITTEN; at += 2) {
      a.load(R1, R10, Stack.Inner + at, 2).store(R10, Stack.GroInner + at, R1, 2);
    }
    const length = OVERHEAD + GRO_HEADERS + WRITTEN;
    a.include(write(Stack.Gro, ETH_HLEN, length, BPF_F_RECOMPUTE_CSUM))
      .jumpIf(R0, "!=", 0, "dropReceiveRefused")
      .include(countReceived)
      .include(count("groCounts", GroCount.groSent))
      .mov(R0, Verdict.TC_ACT_OK).exit();
  };
}

/** Passes a datagram with the secret of probes to the GRO device's socket; others jump to `pass`. */
function probeThroughGro(settings: PathSettings) {
  return (a: Assembler) =>
    a.store(R10, Stack.GroKey, 1, 4)
      .include(lookup("gro", Stack.GroKey)).jumpIf(R0, "==", 0, "pass")
      .mov(R7, R0)
      .include(readable(INNER + GRO_HEADERS))
      .include(sameSecret(R2, INNER, R7, "pass"))
      .load(R2, R7, GroValue.Port, 2).jumpIf(R2, "==", 0, "pass")
      .include(assign(settings, "pass"))
      .mov(R0, Verdict.TC_ACT_OK).exit();
}

/**
 * Assigns the packet, from the sender in R8, to the GRO device's socket, whose port is in R2 in network order. Jumps
 * to `otherwise` when there is no such socket or the kernel refuses. Uses R0 to R5.
 */
function assign(settings: PathSettings, otherwise: "direct" | "pass") {
  return (a: Assembler) =>
    a.store(R10, Stack.Tuple, R8, 4)
      .store(R10, Stack.Tuple + 4, raw32(settings.address), 4)
      .store(R10, Stack.Tuple + 8, raw16(settings.port), 2)
      .store(R10, Stack.Tuple + 10, R2, 2)
      .mov(R1, R6).mov(R2, R10).alu(R2, "add", Stack.Tuple).mov(R3, 12)
      .mov(R4, BPF_F_CURRENT_NETNS).mov(R5, 0)
      .call("sk_lookup_udp").jumpIf(R0, "==", 0, otherwise)
      .store(R10, Stack.Socket, R0, 8)
      .mov(R1, R6).mov(R2, R0).mov(R3, 0)
      .call("sk_assign").store(R10, Stack.Assigned, R0, 8)
      .load(R1, R10, Stack.Socket, 8)
      .call("sk_release")
      .load(R1, R10, Stack.Assigned, 8).jumpIf(R1, "!=", 0, otherwise)
      // icmp_send() does not answer link-layer broadcasts. An ICMP error, such as that of a firewall with a
      // reject rule, would quote the secret to the peer. The vxlan device makes the packet PACKET_HOST again.
      .mov(R1, R6).mov(R2, PACKET_BROADCAST).call("skb_change_type");
}

/** Counts R9 packets with R7 bytes for the sender. */
function countReceived(a: Assembler): void {
  a.load(R0, R10, Stack.Peer, 8)
    .include(add(Traffic.receivedPackets, R9))
    .include(add(Traffic.receivedBytes, R7));
}

/** Adds bytes behind the link-layer header, or removes them; segments keep their size. R0 is 0 on success. */
function resize(bytes: number) {
  return (a: Assembler) =>
    a.mov(R1, R6).mov(R2, bytes).mov(R3, BPF_ADJ_ROOM_MAC).mov(R4, BPF_F_ADJ_ROOM_FIXED_GSO)
      .call("skb_adjust_room");
}

/** Writes bytes of the stack into the packet. R0 is 0 on success. */
function write(from: number, to: number, length: number, flags: number) {
  return (a: Assembler) =>
    a.mov(R1, R6).mov(R2, to).mov(R3, R10).alu(R3, "add", from).mov(R4, length).mov(R5, flags)
      .call("skb_store_bytes");
}
