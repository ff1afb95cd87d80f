import { onesComplementSum } from "../../../../mod/ip/checksum.ts";
import type { IPv4 } from "../../../../mod/ip/mod.ts";
import {
  Assembler,
  BPF_F_INGRESS,
  BpfError,
  type BpfMap,
  BpfProgram,
  R2,
  R3,
} from "../../../../mod/sys/bpf/mod.ts";
import { type Mac, type Netlink, parseMac, SysError } from "../../../../mod/sys/mod.ts";
import {
  Hop,
  HOP_HEADERS,
  OVERHEAD,
  Passage,
  type PathSettings,
  PROBE_KEY,
} from "../programs/layout.ts";
import { OUTER_TTL } from "../programs/outer_header.ts";
import { ETH_HLEN, ETH_P_IP, IPPROTO_UDP } from "../../../../mod/sys/linux_constants.ts";

const IPV4_HEADER = 20;
/** For experiments (RFC 3692): what is in a probe nobody is to take for anything. */
const NO_PROTOCOL = 253;

/**
 * How long probes may take, in milliseconds. As a rule they are through when the call returns that sends them;
 * receive packet steering and threaded softirqs make it later.
 */
const PATIENCE = 50;

/** What became of probes. `unknown` where this kernel lets nobody send any. */
export type ProbeResult = "passed" | "swallowed" | "unknown";

/** Where probes are sent. */
export interface ProbeOptions {
  readonly netlink: Netlink;
  readonly maps: { readonly hop: BpfMap; readonly passages: BpfMap };
  readonly settings: PathSettings;
  /** Public IPs of peers, one for each probe. */
  readonly peers: readonly IPv4[];
}

/**
 * Finds out whether the host lets datagrams of peers through to the hop, by one of our own from each peer, which
 * nobody misses. It comes in at the external interface and meets what such a datagram would: traffic
 * control, conntrack, the reverse path filter, the firewall, and the hop's socket and program, which counts it
 * and lets it go no further.
 *
 * The decapsulation program must be attached, and the way for probes be known to it. It runs in the network
 * namespace of the calling thread.
 */
export function probeHop({ netlink, maps, settings, peers }: ProbeOptions): ProbeResult {
  const headers = maps.hop.lookup(PROBE_KEY);
  const mac = netlink.linkByIndex(settings.underlay)?.mac;
  if (headers === undefined || headers.getUint16(Hop.Port) === 0 || mac === undefined) {
    return "unknown";
  }
  const arrived = () => maps.passages.total(Passage.probed);
  const goal = arrived() + peers.length;
  try {
    // A classifier's test run works on the packet that it is given, but a copy that it makes is sent.
    using program = BpfProgram.load(
      "flanneld_probe",
      new Assembler().mov(R2, settings.underlay).mov(R3, BPF_F_INGRESS).call("clone_redirect")
        .exit().assemble(),
    );
    for (const peer of peers) program.run(probeFrame(settings, peer, mac, headers));
  } catch (error) {
    if (error instanceof SysError || error instanceof BpfError) return "unknown";
    throw error;
  }
  const clock = new Int32Array(new SharedArrayBuffer(4));
  const end = performance.now() + PATIENCE;
  while (arrived() < goal) {
    if (performance.now() >= end) return "swallowed";
    Atomics.wait(clock, 0, 0, 1);
  }
  return "passed";
}

/**
 * A datagram from a peer as it would be after the decapsulation program has dressed it, around an empty packet.
 *
 * @param headers value of the hop for probes
 */
export function probeFrame(
  { address, port }: PathSettings,
  peer: IPv4,
  mac: Mac,
  headers: DataView,
): Uint8Array<ArrayBuffer> {
  const frame = new Uint8Array(ETH_HLEN + OVERHEAD + HOP_HEADERS + IPV4_HEADER);
  const view = new DataView(frame.buffer);
  parseMac(mac, frame, 0);
  parseMac(mac, frame, 6);
  view.setUint16(12, ETH_P_IP);
  const udp = ETH_HLEN + IPV4_HEADER;
  const inner = ETH_HLEN + OVERHEAD + HOP_HEADERS;
  writeHeader(ETH_HLEN, IPPROTO_UDP);
  view.setUint16(udp + 2, port);
  view.setUint16(udp + 4, frame.length - udp);
  for (let i = 0; i < HOP_HEADERS; i++) {
    view.setUint8(ETH_HLEN + OVERHEAD + i, headers.getUint8(Hop.Headers + i));
  }
  writeHeader(inner, NO_PROTOCOL);
  return frame;

  /** An IPv4 header (RFC 791) of what is from there to the end. */
  function writeHeader(at: number, protocol: number): void {
    view.setUint8(at, 0x45);
    view.setUint16(at + 2, frame.length - at);
    view.setUint8(at + 8, OUTER_TTL);
    view.setUint8(at + 9, protocol);
    view.setUint32(at + 12, peer);
    view.setUint32(at + 16, address);
    // The sum is of little-endian words, and is written as one.
    view.setUint16(at + 10, ~onesComplementSum(view, at, IPV4_HEADER) & 0xffff, true);
  }
}
