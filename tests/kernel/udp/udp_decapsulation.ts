/** A simple implementation of the decapsulation program's rules, to compare with the program as the kernel runs it. */
import { assertEquals } from "@std/assert";
import {
  ipv4Packet,
  naiveChecksum,
  pattern,
  udpPacket,
} from "../../../backends/udp/user/testing/packets.ts";
import { decapsulation } from "../../../backends/udp/kernel/programs/decapsulate.ts";
import {
  groValue,
  type KernelRoute,
  MAPS,
  PACKETS_KEY,
  type PathSettings,
  peerKey,
  REASONS,
  routeKey,
  routeValue,
} from "../../../backends/udp/kernel/programs/layout.ts";
import { parseIPv4, Prefix } from "../../../mod/ip/mod.ts";
import { BpfMap, BpfProgram } from "../../../mod/sys/bpf/mod.ts";
import { libc, randomMac } from "../../../mod/sys/mod.ts";

libc();

const ip = (text: string) => parseIPv4(text)!;
export const OWN_IP = ip("172.28.128.100");
export const PEER = ip("172.28.128.101");
export const USER_PEER = ip("172.28.128.102");
export const NON_PEER = ip("172.28.128.103");

export const SETTINGS: PathSettings = {
  ...{ device: 1, underlay: 1, mtu: 1500, address: OWN_IP, port: 8285 },
  ...{ own: Prefix.parse("10.40.1.0/24")!, network: Prefix.parse("10.40.0.0/16")! },
  ...{ acceptAny: false, strictSource: false },
};
export const ROUTES: readonly KernelRoute[] = [
  { subnet: Prefix.parse("10.40.2.0/24")!, publicIP: PEER, carried: true },
  { subnet: Prefix.parse("10.40.3.0/24")!, publicIP: USER_PEER, carried: false },
  { subnet: Prefix.parse("10.40.4.0/24")!, publicIP: USER_PEER, carried: false, accepted: true },
  // A lease inside another one.
  { subnet: Prefix.parse("10.40.2.128/25")!, publicIP: USER_PEER, carried: true },
];

export const PASS = -1, DROP = 2, REDIRECT = 7;

/** The program with its maps. */
export class Decapsulation implements Disposable {
  readonly #maps = Object.entries(MAPS).map(([name, shape]) =>
    [name, BpfMap.create(name, shape)] as const
  );
  readonly #program: BpfProgram;

  constructor(settings: PathSettings) {
    const maps = Object.fromEntries(this.#maps);
    for (const route of ROUTES) {
      maps.routes!.update(routeKey(route.subnet), routeValue(route));
      maps.peers!.update(peerKey(route.publicIP), new Uint8Array(32));
    }
    // The address of a GRO device that does not exist: no socket has its port.
    const address = { vni: 8285, mac: randomMac(), secret: randomMac(), port: 28_285 };
    maps.gro!.update(PACKETS_KEY, groValue(address));
    const descriptors = Object.fromEntries(this.#maps.map(([name, { fd }]) => [name, fd]));
    this.#program = BpfProgram.load("decapsulate", decapsulation(settings), descriptors);
  }

  run(frame: Uint8Array) {
    return this.#program.run(frame);
  }

  drops(reason: typeof REASONS[number]): number {
    const map = Object.fromEntries(this.#maps).reasons!;
    const key = new Uint8Array([REASONS.indexOf(reason), 0, 0, 0]);
    return map.sum(map.lookup(key)!, 0);
  }

  received(publicIP: number): number {
    const map = Object.fromEntries(this.#maps).peers!;
    return map.sum(map.lookup(peerKey(publicIP))!, 16);
  }

  [Symbol.dispose](): void {
    this.#program[Symbol.dispose]();
    for (const [, map] of this.#maps) map[Symbol.dispose]();
  }
}

export interface Fields {
  source?: number;
  destination?: number;
  port?: number;
  innerSource?: string;
  innerDestination?: string;
  ttl?: number;
  protocol?: number;
  size?: number;
  checksum?: boolean;
  innerOptions?: Uint8Array;
  padding?: number;
}

/** Builds a frame of a peer. */
export function frame(fields: Fields = {}): Uint8Array {
  const inner = ipv4Packet({
    source: ip(fields.innerSource ?? "10.40.2.9"),
    destination: ip(fields.innerDestination ?? "10.40.1.7"),
    ttl: fields.ttl ?? 63,
    ...(fields.protocol !== undefined && { protocol: fields.protocol }),
    payload: pattern(fields.size ?? 40),
    ...(fields.innerOptions && { ipOptions: fields.innerOptions }),
  });
  const outer = udpPacket({
    ...{ source: fields.source ?? PEER, destination: fields.destination ?? OWN_IP },
    ...{ sourcePort: 8285, destinationPort: fields.port ?? 8285, fragment: 0, payload: inner },
  });
  if (!fields.checksum) outer.fill(0, 26, 28);
  const bytes = new Uint8Array(14 + outer.length + (fields.padding ?? 0));
  bytes[12] = 8;
  bytes.set(outer, 14);
  return bytes;
}

/** The verdict by the rules, in the order of the documentation. */
function expected(
  bytes: Uint8Array,
  { acceptAny, strictSource }: Partial<PathSettings> = {},
): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (bytes.length < 62 || view.getUint16(12) !== 0x0800) return PASS;
  if (bytes.subarray(0, 6).some((byte) => byte !== 0)) return PASS; // Not to the loopback's address.
  const outer = 14, udp = 34, inner = 42;
  if (bytes[outer] !== 0x45 || bytes[outer + 9] !== 17) return PASS;
  if ((view.getUint16(outer + 6) & 0x3fff) !== 0) return PASS;
  if (view.getUint32(outer + 16) !== OWN_IP || view.getUint16(udp + 2) !== 8285) return PASS;
  const length = view.getUint16(udp + 4) - 8;
  if (length < 20 || view.getUint16(outer + 2) !== length + 28) return PASS;
  if (bytes.length < 14 + 28 + length) return PASS;
  const header = (bytes[inner]! & 15) * 4;
  if (bytes[inner]! >> 4 !== 4 || header < 20 || header > length) return PASS;
  if (view.getUint16(inner + 2) !== length) return PASS;
  const sender = view.getUint32(outer + 12);
  const source = view.getUint32(inner + 12);
  const drop = acceptAny ? PASS : DROP;
  if (!ROUTES.some(({ publicIP }) => publicIP === sender)) return drop;
  if (!SETTINGS.own.contains(view.getUint32(inner + 16))) return DROP;
  const [route] = ROUTES.filter(({ subnet }) => subnet.contains(source))
    .sort((a, b) => b.subnet.length - a.subnet.length);
  if (route === undefined) {
    return strictSource || SETTINGS.network.contains(source) ? drop : PASS;
  }
  if (route.publicIP !== sender) return drop;
  const summed = view.getUint16(udp + 6) !== 0;
  if (!route.carried && !(route.accepted && !summed)) return PASS;
  if (bytes[inner + 8]! <= 1) return PASS;
  // The kernel requires an IPv4 header's length after removing 36 bytes behind the Ethernet header.
  return summed && bytes.length - 14 - 36 < 20 ? PASS : REDIRECT;
}

/** Checks verdict and resulting packet, and returns the verdict. */
export function check(
  program: Decapsulation,
  bytes: Uint8Array,
  options: Partial<PathSettings> = {},
): number {
  const { verdict, packet } = program.run(bytes);
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  const right = expected(bytes, options);
  assertEquals(verdict, right, hex);
  if (verdict !== REDIRECT) {
    assertEquals(packet, bytes, `altered: ${hex}`);
    return verdict;
  }
  // The inner packet with a decremented TTL; a wrong checksum stays wrong.
  const before = bytes.subarray(42);
  const after = packet.subarray(14);
  const header = (before[0]! & 15) * 4;
  const sums = [before, after].map((bytes) => naiveChecksum(bytes.subarray(0, header)) % 0xffff);
  assertEquals(sums[1], sums[0], hex);
  assertEquals(after[8], before[8]! - 1);
  const [left, gone] = [before.slice(), after.slice()];
  for (const bytes of [left, gone]) bytes.fill(0, 8, 9).fill(0, 10, 12);
  assertEquals(gone, left, hex);
  return verdict;
}
