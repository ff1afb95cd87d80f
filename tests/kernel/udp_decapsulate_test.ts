/** The decapsulation program against a slow reading of its rules, on packets that the kernel runs it on. */
import { assert, assertEquals } from "@std/assert";
import {
  ipv4Packet,
  naiveChecksum,
  pattern,
  udpPacket,
} from "../../backends/udp/packet/_fixtures.ts";
import { decapsulation } from "../../backends/udp/kernel/decapsulate.ts";
import {
  HOP_KEY,
  hopValue,
  MAPS,
  type PathSettings,
  peerKey,
  REASONS,
  routeKey,
  routeValue,
} from "../../backends/udp/kernel/layout.ts";
import { parseIPv4, Prefix } from "../../mod/ip/mod.ts";
import { BpfMap, BpfProgram } from "../../mod/sys/bpf/mod.ts";
import { libc, randomMac } from "../../mod/sys/mod.ts";

libc();

const ip = (text: string) => parseIPv4(text)!;
const US = ip("172.28.128.100");
const PEER = ip("172.28.128.101");
const USER_PEER = ip("172.28.128.102");
const STRANGER = ip("172.28.128.103");

const SETTINGS: PathSettings = {
  ...{ device: 1, underlay: 1, mtu: 1500, address: US, port: 8285 },
  ...{ own: Prefix.parse("10.40.1.0/24")!, network: Prefix.parse("10.40.0.0/16")! },
  ...{ acceptAny: false, strictSource: false },
};
const ROUTES = [
  { subnet: Prefix.parse("10.40.2.0/24")!, publicIP: PEER, carried: true },
  { subnet: Prefix.parse("10.40.3.0/24")!, publicIP: USER_PEER, carried: false },
  // A lease inside another's.
  { subnet: Prefix.parse("10.40.2.128/25")!, publicIP: USER_PEER, carried: true },
];

const PASS = -1, DROP = 2, REDIRECT = 7;

/** The program with its maps. */
class Decapsulation implements Disposable {
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
    // A hop whose device is gone: its port leads nowhere.
    const hop = { vni: 8285, mac: randomMac(), secret: randomMac(), port: 28_285 };
    maps.hop!.update(HOP_KEY, hopValue(hop));
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

interface Fields {
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

/** A frame as a peer sends it. */
function frame(fields: Fields = {}): Uint8Array {
  const inner = ipv4Packet({
    source: ip(fields.innerSource ?? "10.40.2.9"),
    destination: ip(fields.innerDestination ?? "10.40.1.7"),
    ttl: fields.ttl ?? 63,
    ...(fields.protocol !== undefined && { protocol: fields.protocol }),
    payload: pattern(fields.size ?? 40),
    ...(fields.innerOptions && { ipOptions: fields.innerOptions }),
  });
  const outer = udpPacket({
    ...{ source: fields.source ?? PEER, destination: fields.destination ?? US },
    ...{ sourcePort: 8285, destinationPort: fields.port ?? 8285, fragment: 0, payload: inner },
  });
  if (!fields.checksum) outer.fill(0, 26, 28);
  const bytes = new Uint8Array(14 + outer.length + (fields.padding ?? 0));
  bytes[12] = 8;
  bytes.set(outer, 14);
  return bytes;
}

/** The rules, in the order of the documentation and with no regard for speed. */
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
  if (view.getUint32(outer + 16) !== US || view.getUint16(udp + 2) !== 8285) return PASS;
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
  if (!route.carried || bytes[inner + 8]! <= 1) return PASS;
  const summed = view.getUint16(udp + 6) !== 0;
  // A header's worth has to be left when 36 bytes behind the Ethernet header are gone.
  return summed && bytes.length - 14 - 36 < 20 ? PASS : REDIRECT;
}

/** Checks the verdict, and what becomes of the bytes. */
function check(
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
  // The inner packet with a TTL less, whatever its checksum was worth before.
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

Deno.test("decapsulation() accepts what a peer sends, sums or not, options or not", () => {
  using program = new Decapsulation(SETTINGS);
  const cases: Fields[] = [
    {},
    { checksum: true },
    { size: 0 },
    { size: 8, checksum: true },
    { size: 1452 },
    { size: 1452, checksum: true },
    { ttl: 2 },
    { ttl: 255 },
    { innerSource: "10.40.2.200", source: USER_PEER },
    { innerOptions: new Uint8Array(40).fill(1) },
    { innerOptions: new Uint8Array(40).fill(1), checksum: true },
    { padding: 12 },
    { protocol: 6 },
  ];
  for (const fields of cases) {
    assertEquals(check(program, frame(fields)), REDIRECT, JSON.stringify(fields));
  }
  assertEquals(program.received(PEER), cases.length - 1);
  assertEquals(program.received(USER_PEER), 1);
});

Deno.test("decapsulation() drops and counts unknown senders, foreign destinations, spoofed sources", () => {
  using program = new Decapsulation(SETTINGS);
  const cases: [Fields, typeof REASONS[number]][] = [
    [{ source: STRANGER }, "dropReceiveUnknownSender"],
    [{ innerDestination: "10.40.2.7" }, "dropReceiveForeign"],
    [{ innerDestination: "192.0.2.1" }, "dropReceiveForeign"],
    // Another peer's, ours, nobody's, and the inner lease's from the holder of the outer one.
    [{ innerSource: "10.40.3.9" }, "dropReceiveSpoofed"],
    [{ innerSource: "10.40.1.9" }, "dropReceiveSpoofed"],
    [{ innerSource: "10.40.99.9" }, "dropReceiveSpoofed"],
    [{ innerSource: "10.40.2.200" }, "dropReceiveSpoofed"],
  ];
  for (const [fields, reason] of cases) {
    const before = program.drops(reason);
    assertEquals(check(program, frame(fields)), DROP, JSON.stringify(fields));
    assertEquals(program.drops(reason), before + 1, JSON.stringify(fields));
  }
});

Deno.test("decapsulation() hands on what is for user space to judge", () => {
  using program = new Decapsulation(SETTINGS);
  const train = frame({ size: 40 });
  new DataView(train.buffer).setUint16(44, 40); // The packet ends before its datagram.
  const fragment = frame();
  fragment[20] = 0x20;
  const options = frame();
  options[14] = 0x46;
  for (
    const bytes of [
      frame({ ttl: 1 }),
      frame({ ttl: 0 }),
      frame({ port: 8286 }),
      frame({ destination: STRANGER }),
      frame({ innerSource: "192.0.2.1" }),
      frame({ innerSource: "10.40.3.9", source: USER_PEER }),
      frame({ size: 0, checksum: true }),
      ...[train, fragment, options],
    ]
  ) assertEquals(check(program, bytes), PASS);
});

Deno.test("decapsulation() with strictSource drops sources outside, with acceptAny leaves all to user space", () => {
  const outside = frame({ innerSource: "192.0.2.1" });
  using strict = new Decapsulation({ ...SETTINGS, strictSource: true });
  assertEquals(check(strict, outside, { strictSource: true }), DROP);
  assertEquals(check(strict, frame(), { strictSource: true }), REDIRECT);
  using any = new Decapsulation({ ...SETTINGS, acceptAny: true });
  for (const bytes of [outside, frame({ source: STRANGER }), frame({ innerSource: "10.40.3.9" })]) {
    assertEquals(check(any, bytes, { acceptAny: true }), PASS);
  }
  assertEquals(check(any, frame({ innerDestination: "10.40.2.7" }), { acceptAny: true }), DROP);
});

Deno.test("decapsulation() accepts no frame that is not valid, of 60,000 random ones", () => {
  for (const options of [{}, { strictSource: true }, { acceptAny: true }]) {
    using program = new Decapsulation({ ...SETTINGS, ...options });
    const seen = new Map<number, number>();
    const random = (below: number) => Math.floor(Math.random() * below);
    const addresses = [PEER, PEER, PEER, USER_PEER, STRANGER];
    const sources = [
      "10.40.2.9",
      "10.40.2.9",
      "10.40.2.200",
      "10.40.3.9",
      "10.40.1.1",
      "192.0.2.1",
    ];
    for (let i = 0; i < 20_000; i++) {
      let bytes = frame({
        source: addresses[random(5)]!,
        innerSource: sources[random(6)]!,
        innerDestination: ["10.40.1.7", "10.40.1.7", "10.40.2.7"][random(3)]!,
        ttl: [64, 64, 2, 1, 0][random(5)]!,
        protocol: [6, 17, 253][random(3)]!,
        size: random(200),
        checksum: random(2) === 0,
        padding: random(3) * 9,
      });
      // Bits in the headers, where they matter, and bytes off the end.
      for (let flips = random(4); flips > 0; flips--) {
        bytes[12 + random(60)]! ^= 1 << random(8);
      }
      if (random(6) === 0) bytes = bytes.slice(0, 34 + random(bytes.length - 34));
      if (random(20) === 0) crypto.getRandomValues(bytes.subarray(34));
      const verdict = check(program, bytes, options);
      seen.set(verdict, (seen.get(verdict) ?? 0) + 1);
    }
    // The generator is worth something only when every verdict occurs.
    for (const verdict of [PASS, DROP, REDIRECT]) {
      assert((seen.get(verdict) ?? 0) > 500, `${verdict}: ${seen.get(verdict)}`);
    }
  }
});
