/** The eBPF programs, run by BPF_PROG_TEST_RUN, compared with a simple implementation of their rules. */
import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { encapsulation } from "../../../backends/udp/kernel/programs/encapsulate.ts";
import { groArrival } from "../../../backends/udp/kernel/gro/gro_device.ts";
import {
  FORMER_KEY,
  groValue,
  MAPS,
  PACKETS_KEY,
  peerKey,
  PROBES_KEY,
  routeKey,
  routeValue,
} from "../../../backends/udp/kernel/programs/layout.ts";
import { ipv4Packet, naiveChecksum, pattern } from "../../../backends/udp/user/testing/packets.ts";
import { parseIPv4 } from "../../../mod/ip/mod.ts";
import { type AssembledProgram, BpfMap, BpfProgram } from "../../../mod/sys/bpf/mod.ts";
import { libc, parseMac } from "../../../mod/sys/mod.ts";
import {
  check,
  Decapsulation,
  DROP,
  frame,
  NON_PEER,
  PASS,
  REDIRECT,
  ROUTES,
  SETTINGS,
  USER_PEER,
} from "../../kernel/udp/udp_decapsulation.ts";
import { bytesNear, concat } from "../mutate.ts";
import type { FuzzTarget } from "../target.ts";

const ip = (text: string) => parseIPv4(text)!;

const FRAMES: readonly Uint8Array[] = [
  frame(),
  frame({ checksum: true }),
  frame({ size: 0 }),
  frame({ size: 8, checksum: true, padding: 12 }),
  frame({ protocol: 6, ttl: 2 }),
  frame({ source: NON_PEER }),
  frame({ source: USER_PEER, innerSource: "10.40.2.200" }),
  frame({ source: USER_PEER, innerSource: "10.40.3.9" }),
  frame({ innerSource: "192.0.2.1" }),
  frame({ innerDestination: "10.40.2.7" }),
  frame({ innerOptions: new Uint8Array(40).fill(1) }),
];

/** The kernel runs no frame without an Ethernet header, nor one that ends within the IP header that its type promises. */
function runnable(bytes: Uint8Array): boolean {
  if (bytes.length < 14 || bytes.length > 2000) return false;
  const type = bytes[12]! * 256 + bytes[13]!;
  return bytes.length >= 14 + (type === 0x0800 ? 20 : type === 0x86dd ? 40 : 0);
}

/** Settings that change the rules. */
const MODES = [{}, { strictSource: true }, { acceptAny: true }];

export const bpfDecapsulate: FuzzTarget<{ readonly mode: number; readonly bytes: Uint8Array }> = {
  name: "bpf_decapsulate",
  needsRoot: true,
  seeds: FRAMES.map((bytes) => ({ mode: 0, bytes })),
  inputs: fc.record({ mode: fc.nat(MODES.length - 1), bytes: bytesNear(FRAMES).filter(runnable) }),
  start: (stack) => {
    libc();
    const programs = MODES.map((mode) => stack.use(new Decapsulation({ ...SETTINGS, ...mode })));
    return ({ mode, bytes }) => void check(programs[mode]!, bytes, MODES[mode]);
  },
};

/** Loads a program with maps of its own. */
function load(
  stack: AsyncDisposableStack,
  program: AssembledProgram,
): { readonly program: BpfProgram; readonly maps: Record<keyof typeof MAPS, BpfMap> } {
  libc();
  const maps = Object.fromEntries(
    Object.entries(MAPS).map(([name, shape]) => [name, stack.use(BpfMap.create(name, shape))]),
  ) as Record<keyof typeof MAPS, BpfMap>;
  const descriptors = Object.fromEntries(Object.entries(maps).map(([name, { fd }]) => [name, fd]));
  return { program: stack.use(BpfProgram.load("fuzz", program, descriptors)), maps };
}

/**
 * Packets as flannel0 sends them. A test run takes the first 14 bytes for an Ethernet header, whose type is then the
 * source's first half: 8.0.0.0/16 is IPv4's.
 */
const INNER: readonly Uint8Array[] = [
  ["10.40.2.9", 64, 60],
  ["10.40.3.9", 64, 60],
  ["10.40.2.200", 2, 14],
  ["10.40.77.1", 64, 20],
  ["10.40.2.9", 1, 20],
  ["10.40.2.9", 64, 1452],
  ["10.40.2.9", 64, 1453],
].map(([destination, ttl, size]) =>
  ipv4Packet({
    ...{ source: ip("8.0.1.5"), destination: ip(destination as string) },
    ...{ ttl: ttl as number, payload: pattern(size as number) },
  })
);

function sendVerdict(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (bytes.length < 20 || view.getUint16(12) !== 0x0800) return PASS;
  const header = (bytes[0]! & 15) * 4;
  const total = view.getUint16(2);
  if (bytes[0]! >> 4 !== 4 || header < 20 || header > total || total !== bytes.length) return PASS;
  if (bytes[8]! <= 1 || total > SETTINGS.mtu - 28) return PASS;
  const [route] = ROUTES.filter(({ subnet }) => subnet.contains(view.getUint32(16)))
    .sort((a, b) => b.subnet.length - a.subnet.length);
  return route?.carried ? REDIRECT : PASS;
}

export const bpfEncapsulate: FuzzTarget<Uint8Array> = {
  name: "bpf_encapsulate",
  needsRoot: true,
  seeds: INNER,
  inputs: bytesNear(INNER).filter(runnable),
  start: (stack) => {
    const { program, maps } = load(stack, encapsulation(SETTINGS, { pathMtu: false }));
    for (const route of ROUTES) {
      maps.routes.update(routeKey(route.subnet), routeValue(route));
      maps.peers.update(peerKey(route.publicIP), new Uint8Array(32));
    }
    return (bytes) => {
      const { verdict, packet } = program.run(bytes);
      assertEquals(verdict, sendVerdict(bytes));
      if (verdict === PASS) return assertEquals(packet, bytes);
      // A link-layer header to come, the outer headers, the inner packet with a TTL less.
      assertEquals(packet.length, 14 + 28 + bytes.length);
      const outer = packet.subarray(14, 42);
      const view = new DataView(outer.slice().buffer);
      assertEquals(naiveChecksum(outer.subarray(0, 20)), 0);
      assertEquals([outer[0], outer[9]], [0x45, 17]);
      assertEquals(view.getUint16(2), 28 + bytes.length);
      assertEquals(view.getUint16(24), 8 + bytes.length);
      assertEquals(view.getUint32(12), SETTINGS.address);
      const destination = new DataView(bytes.buffer, bytes.byteOffset).getUint32(16);
      const [route] = ROUTES.filter(({ subnet }) => subnet.contains(destination))
        .sort((a, b) => b.subnet.length - a.subnet.length);
      assertEquals(view.getUint32(16), route!.publicIP);
      assertEquals([view.getUint16(20), view.getUint16(22)], [SETTINGS.port, SETTINGS.port]);
      const inner = packet.slice(42);
      assertEquals(inner[8], bytes[8]! - 1);
      // Bytes 12 and 13 are where the test run has its Ethernet type, behind which the room was made.
      const same = (all: Uint8Array) => [...all.subarray(0, 8), all[9], ...all.subarray(14)];
      assertEquals(same(inner), same(bytes));
    };
  },
};

const [PACKETS, FORMER, PROBES] = ["02:00:00:00:00:0a", "02:00:00:00:00:0b", "02:00:00:00:00:0c"];
const GRO_MAC = "02:00:00:00:00:01";

function bytesOf(mac: string): Uint8Array {
  const bytes = new Uint8Array(6);
  parseMac(mac, bytes, 0);
  return bytes;
}

/** A frame as the GRO device receives it. */
function arrival(secret: string, source: string, destination: string): Uint8Array {
  const packet = ipv4Packet({ source: ip(source), destination: ip(destination) });
  return concat(bytesOf(GRO_MAC), bytesOf(secret), Uint8Array.of(8, 0), packet);
}

const ARRIVALS: readonly Uint8Array[] = [
  arrival(PACKETS!, "10.40.2.9", "10.40.1.7"),
  arrival(FORMER!, "10.40.2.9", "10.40.1.7"),
  arrival(PROBES!, "10.40.2.9", "10.40.1.7"),
  arrival(PACKETS!, "10.40.1.9", "10.40.1.7"),
  arrival(PACKETS!, "192.0.2.1", "10.40.1.7"),
  arrival(PACKETS!, "10.40.2.9", "10.40.2.7"),
  arrival("02:00:00:00:00:0d", "10.40.2.9", "10.40.1.7"),
];

function arrivalVerdict(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const secret = bytes.subarray(6, 12);
  const isKnown = [PACKETS!, FORMER!].some((mac) => bytesOf(mac).every((b, i) => b === secret[i]));
  if (bytes.length < 34 || !isKnown) return DROP;
  const [source, destination] = [view.getUint32(26), view.getUint32(30)];
  const { own, network } = SETTINGS;
  if (!own.contains(destination) || own.contains(source) || !network.contains(source)) return DROP;
  return REDIRECT;
}

export const bpfArrival: FuzzTarget<Uint8Array> = {
  name: "bpf_gro_arrival",
  needsRoot: true,
  seeds: ARRIVALS,
  inputs: bytesNear(ARRIVALS).filter(runnable),
  start: (stack) => {
    const { program, maps } = load(stack, groArrival(SETTINGS));
    for (
      const [key, secret] of [[PACKETS_KEY, PACKETS], [FORMER_KEY, FORMER], [
        PROBES_KEY,
        PROBES,
      ]] as const
    ) maps.gro.update(key, groValue({ vni: 8285, mac: GRO_MAC, secret: secret!, port: 28_285 }));
    return (bytes) => {
      const { verdict, packet } = program.run(bytes);
      assertEquals(verdict, arrivalVerdict(bytes));
      assertEquals(packet, bytes);
    };
  },
};
