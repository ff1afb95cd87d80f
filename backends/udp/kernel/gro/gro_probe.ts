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
  GRO_HEADERS,
  GroCount,
  GroValue,
  OVERHEAD,
  type PathSettings,
  PROBES_KEY,
} from "../programs/layout.ts";
import { OUTER_TTL } from "../programs/outer_header.ts";
import { ETH_HLEN, ETH_P_IP, IPPROTO_UDP } from "../../../../mod/sys/linux_constants.ts";

const IPV4_HEADER = 20;
/** A protocol number for experiments (RFC 3692), which no program on the way interprets. */
const EXPERIMENTAL_PROTOCOL = 253;

/**
 * Time that probes may take, during which the agent waits. Usually they have passed when the call that sends them
 * returns; receive packet steering, threaded softirqs and a busy machine delay them. Beside a load of 20 some took
 * more than 50 ms.
 */
const TIMEOUT_MS = 200;

/** Result of probes; `unknown` when the kernel refuses to send any. */
export type ProbeResult = "passed" | "lost" | "unknown";

/** Options of {@linkcode probeGroPath}. */
export interface ProbeOptions {
  readonly netlink: Netlink;
  readonly maps: { readonly gro: BpfMap; readonly groCounts: BpfMap };
  readonly settings: PathSettings;
  /** Public IPs of peers; each is the source of one probe. */
  readonly peers: readonly IPv4[];
}

/**
 * Checks whether datagrams of peers reach the GRO device. Sends one probe as if from each peer: it enters at the
 * external interface and passes traffic control, conntrack, the reverse path filter, the firewall and the GRO
 * device's socket. The device's program counts the probe and drops it.
 *
 * The decapsulation program must be attached, and the probes' address be in its map. Runs in the network namespace
 * of the calling thread.
 */
export function probeGroPath({ netlink, maps, settings, peers }: ProbeOptions): ProbeResult {
  const headers = maps.gro.lookup(PROBES_KEY);
  const mac = netlink.linkByIndex(settings.underlay)?.mac;
  if (headers === undefined || headers.getUint16(GroValue.Port) === 0 || mac === undefined) {
    return "unknown";
  }
  const received = () => maps.groCounts.total(GroCount.probesReceived);
  const goal = received() + peers.length;
  try {
    // A test run never sends the packet that it is given; clone_redirect sends a copy.
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
  const end = performance.now() + TIMEOUT_MS;
  while (received() < goal) {
    if (performance.now() >= end) return "lost";
    Atomics.wait(clock, 0, 0, 1);
  }
  return "passed";
}

/**
 * Builds a probe: a peer's datagram with an empty packet, and with the headers that the decapsulation program adds
 * to packets on the GRO path.
 *
 * @param headers the map's value for probes
 */
export function probeFrame(
  { address, port }: PathSettings,
  peer: IPv4,
  mac: Mac,
  headers: DataView,
): Uint8Array<ArrayBuffer> {
  const frame = new Uint8Array(ETH_HLEN + OVERHEAD + GRO_HEADERS + IPV4_HEADER);
  const view = new DataView(frame.buffer);
  parseMac(mac, frame, 0);
  parseMac(mac, frame, 6);
  view.setUint16(12, ETH_P_IP);
  const udp = ETH_HLEN + IPV4_HEADER;
  const inner = ETH_HLEN + OVERHEAD + GRO_HEADERS;
  writeHeader(ETH_HLEN, IPPROTO_UDP);
  view.setUint16(udp + 2, port);
  view.setUint16(udp + 4, frame.length - udp);
  for (let i = 0; i < GRO_HEADERS; i++) {
    view.setUint8(ETH_HLEN + OVERHEAD + i, headers.getUint8(GroValue.Headers + i));
  }
  writeHeader(inner, EXPERIMENTAL_PROTOCOL);
  return frame;

  /** Writes the IPv4 header (RFC 791) of a packet that reaches to the frame's end. */
  function writeHeader(at: number, protocol: number): void {
    view.setUint8(at, 0x45);
    view.setUint16(at + 2, frame.length - at);
    view.setUint8(at + 8, OUTER_TTL);
    view.setUint8(at + 9, protocol);
    view.setUint32(at + 12, peer);
    view.setUint32(at + 16, address);
    // The sum is over little-endian words, so it is stored little-endian.
    view.setUint16(at + 10, ~onesComplementSum(view, at, IPV4_HEADER) & 0xffff, true);
  }
}
