import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { checksumsRight, gsoPacket, ipv4Packet, pattern } from "../testing/packets.ts";
import { type TcpFields, tcpPacket, udpPacket } from "../testing/packets.ts";
import { FrameVector } from "./frames.ts";
import { PacketMemory } from "./memory.ts";
import { Merger, type MergerOptions } from "./merge.ts";
import { packetLength } from "./ipv4.ts";
import { Segmenter } from "./segment.ts";
import { DATA_VALID, plainHeader, type VirtioHeader } from "./virtio.ts";

const ACK = 0x10, FIN = 1, SYN = 2, RST = 4, PSH = 8, URG = 32, ECE = 64, CWR = 128;

interface Frame {
  readonly header: VirtioHeader;
  readonly packet: Uint8Array;
}

const memory = new PacketMemory(1 << 20);
const frames = new FrameVector(4096);

/** Merges packets into frames. */
function merge(
  packets: readonly Uint8Array[],
  options: MergerOptions = { tcp: true, udp: true },
): Frame[] {
  const merger = new Merger(memory, frames, options);
  frames.clear();
  let at = 3;
  for (const packet of packets) {
    memory.bytes.set(packet, at);
    merger.add(at, packet.length);
    at += packet.length;
  }
  merger.finish();
  const result: Frame[] = [];
  for (let frame = 0; frame < frames.count; frame++) {
    const bytes: number[] = [];
    for (let piece = frames.first[frame]!; piece >= 0; piece = frames.pieceNext[piece]!) {
      const from = frames.pieceOffset[piece]!;
      bytes.push(...memory.bytes.subarray(from, from + frames.pieceLength[piece]!));
    }
    result.push({ header: { ...frames.header(frame) }, packet: Uint8Array.from(bytes) });
  }
  return result;
}

/** Segments frames as the kernel would. */
function segmentAll(frames: readonly Frame[]): Uint8Array[] {
  const result: Uint8Array[] = [];
  const scratch = new PacketMemory(1 << 19);
  const segmenter = new Segmenter(scratch);
  for (const { header, packet } of frames) {
    if (header.gsoType === 0) {
      result.push(packet);
      continue;
    }
    scratch.bytes.set(packet, 0);
    assert(segmenter.begin(header, 0, packet.length), "a merged frame can be segmented");
    const to = 1 << 17;
    for (let written; (written = segmenter.next(to, 65507, 64)) > 0;) {
      for (let at = to; at < to + written; at += segmenter.segmentLength) {
        result.push(scratch.bytes.slice(at, Math.min(at + segmenter.segmentLength, to + written)));
      }
    }
  }
  return result;
}

/** `count` consecutive segments of `size` bytes. */
function run(count: number, size: number, fields: TcpFields = {}): Uint8Array[] {
  return Array.from({ length: count }, (_, i) =>
    tcpPacket({
      payload: pattern(size, i + 1),
      ...fields,
      sequence: ((fields.sequence ?? 1000) + i * size) >>> 0,
      id: ((fields.id ?? 100) + i) & 0xffff,
    }));
}

const sizes = (frames: readonly Frame[]) => frames.map((frame) => frame.packet.length);

Deno.test("Merger merges consecutive segments into one GSO packet", () => {
  const segments = run(10, 1420);
  const [frame, ...rest] = merge(segments);
  assertEquals(rest, []);
  assertEquals(frame!.header, {
    flags: 1,
    gsoType: 1,
    headerLength: 40,
    gsoSize: 1420,
    csumStart: 20,
    csumOffset: 16,
  });
  assertEquals(frame!.packet.length, 40 + 14200);
  assertEquals(segmentAll([frame!]), segments);
});

Deno.test("Merger sets FIN and PSH of the last segment on the GSO packet", () => {
  const segments = [
    ...run(2, 100),
    tcpPacket({ payload: pattern(50), sequence: 1200, id: 102, flags: ACK | PSH | FIN }),
  ];
  const merged = merge(segments);
  assertEquals(sizes(merged), [290]);
  assertEquals(merged[0]!.packet[33], ACK | PSH | FIN);
  assertEquals(segmentAll(merged), segments);
});

Deno.test("Merger begins a frame with CWR and marks it with ECN", () => {
  const [, ...others] = run(3, 100, { tos: 2 });
  const cwr = tcpPacket({ payload: pattern(100), id: 100, tos: 2, flags: ACK | CWR });
  const merged = merge([cwr, ...others]);
  assertEquals(merged[0]!.header.gsoType, 0x81);
  assertEquals(segmentAll(merged), [cwr, ...others]);
});

Deno.test("Merger merges datagrams with DF whose ids count up, stay the same or have gaps", () => {
  for (const step of [0, 1, 7]) {
    const datagrams = Array.from(
      { length: 5 },
      (_, i) => udpPacket({ payload: pattern(i === 4 ? 33 : 64, i), id: i * step }),
    );
    const merged = merge(datagrams);
    assertEquals(sizes(merged), [28 + 4 * 64 + 33]);
    assertEquals(merged[0]!.header.gsoType, 5);
    assertEquals(merged[0]!.header.gsoSize, 64);
    const again = segmentAll(merged);
    assertEquals(again.map((packet) => packet.slice(20)), datagrams.map((d) => d.slice(20)));
    if (step === 1) assertEquals(again, datagrams);
  }
});

Deno.test("Merger does not merge segments that differ in other header fields", () => {
  const base = { payload: pattern(100), sequence: 1100, id: 101 } satisfies TcpFields;
  const cases: [string, TcpFields][] = [
    ["a gap", { sequence: 1101 }],
    ["a repetition", { sequence: 1000 }],
    ["another acknowledgment", { acknowledgment: 2001 }],
    ["another window", { window: 501 }],
    ["another urgent pointer", { urgent: 1 }],
    ["another TTL", { ttl: 63 }],
    ["another DSCP", { tos: 0x10 }],
    ["an ECN mark", { tos: 3 }],
    ["no DF", { fragment: 0 }],
    ["ECE", { flags: ACK | ECE }],
    ["CWR", { flags: ACK | CWR }],
    ["URG", { flags: ACK | URG }],
    ["SYN", { flags: ACK | SYN }],
    ["RST", { flags: ACK | RST }],
    ["no ACK", { flags: 0 }],
    ["other options", { options: Uint8Array.of(1, 1, 1, 1) }],
    ["a longer payload", { payload: pattern(101) }],
    ["no payload", { payload: new Uint8Array() }],
    ["another port", { sourcePort: 1 }],
    ["another source", { source: 1 }],
    ["another destination", { destination: 1 }],
    ["IP options", { ipOptions: Uint8Array.of(1, 1, 1, 1) }],
    ["a fragment", { fragment: 0x2000 }],
  ];
  const first = tcpPacket({ ...base, sequence: 1000, id: 100 });
  assertEquals(sizes(merge([first, tcpPacket(base)])), [240], "the untouched pair merges");
  for (const [what, spoil] of cases) {
    const second = tcpPacket({ ...base, ...spoil });
    const merged = merge([first, second]);
    assertEquals(merged.map((frame) => frame.packet), [first, second], what);
    for (const { header } of merged) assertEquals(header.gsoType, 0, what);
  }
});

Deno.test("Merger requires ids that count up without DF, and only then", () => {
  const packets = (fragment: number) =>
    [0, 0, 1, 3, 4].map((id, i) =>
      tcpPacket({ payload: pattern(10), sequence: 1000 + 10 * i, id, fragment })
    );
  assertEquals(sizes(merge(packets(0))), [50, 60, 60]);
  assertEquals(sizes(merge(packets(0x4000))), [90]);
});

Deno.test("Merger compares options to the last byte", () => {
  const timestamps = (value: number) => Uint8Array.of(1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, value);
  const packets = [1, 1, 2].map((value, i) =>
    tcpPacket({
      payload: pattern(10),
      sequence: 1000 + 10 * i,
      id: i,
      options: timestamps(value),
    })
  );
  assertEquals(sizes(merge(packets)), [72, 62]);
});

Deno.test("Merger does not merge or mark packets with wrong checksums", () => {
  for (const spoiled of [10, 36, 60]) {
    const packets = run(3, 100);
    packets[1]![spoiled]! ^= 0x11;
    const merged = merge(packets);
    assertEquals(merged.map((frame) => frame.packet), packets);
    assertEquals(merged.map((frame) => frame.header.flags), [DATA_VALID, 0, DATA_VALID]);
  }
});

Deno.test("Merger ends a frame at a shorter segment", () => {
  const short = tcpPacket({ payload: pattern(40), sequence: 1200, id: 102 });
  const after = tcpPacket({ payload: pattern(40), sequence: 1240, id: 103 });
  assertEquals(sizes(merge([...run(2, 100), short, after])), [280, 80]);
});

Deno.test("Merger fills a frame up to 65535 bytes", () => {
  const merged = merge(run(60, 1420));
  assertEquals(merged.map((frame) => frame.packet.length), [40 + 46 * 1420, 40 + 14 * 1420]);
  assert(40 + 47 * 1420 > 65535);
});

Deno.test("Merger puts at most 64 datagrams into a frame, as the kernel requires", () => {
  const datagrams = Array.from({ length: 150 }, (_, id) => udpPacket({ payload: pattern(9), id }));
  assertEquals(sizes(merge(datagrams)), [64, 64, 22].map((count) => 28 + count * 9));
});

Deno.test("Merger keeps interleaved flows separate and each in order", () => {
  const a = run(6, 100, { sourcePort: 1 });
  const b = run(6, 200, { sourcePort: 2 });
  const c = run(6, 300, { sourcePort: 2, destination: 9 });
  const merged = merge(a.flatMap((packet, i) => [packet, b[i]!, c[i]!]));
  assertEquals(sizes(merged), [640, 1240, 1840]);
  assertEquals(segmentAll(merged), [...a, ...b, ...c]);
});

Deno.test("Merger lets no packet overtake a fragment", () => {
  const fragment = ipv4Packet({ protocol: 17, fragment: 0x2000, payload: pattern(64) });
  const [a, b] = [
    udpPacket({ payload: pattern(8), id: 0 }),
    udpPacket({ payload: pattern(8), id: 0 }),
  ];
  const merged = merge([a!, fragment, b!]);
  assertEquals(merged.map((frame) => frame.packet), [a!, fragment, b!]);
});

Deno.test("Merger does not merge datagrams without checksum, with another length or without payload", () => {
  const noChecksum = udpPacket({ payload: pattern(8) });
  noChecksum.fill(0, 26, 28);
  const otherLength = udpPacket({ payload: pattern(8) });
  otherLength[25] = 15;
  for (const packet of [noChecksum, otherLength, udpPacket({})]) {
    const merged = merge([packet, packet]);
    assertEquals(merged.map((frame) => frame.packet), [packet, packet]);
    assertEquals(merged.map((frame) => frame.header.flags), [0, 0]);
  }
});

Deno.test("Merger does not merge a kind that the device does not support", () => {
  const tcp = run(2, 100);
  const udp = [
    udpPacket({ payload: pattern(8), id: 0 }),
    udpPacket({ payload: pattern(8), id: 1 }),
  ];
  assertEquals(merge(tcp, { tcp: false, udp: true }).map((frame) => frame.packet), tcp);
  assertEquals(merge(udp, { tcp: true, udp: false }).map((frame) => frame.packet), udp);
});

Deno.test("Merger restores any GSO packet from its segments", () => {
  const word = fc.nat(0xffff);
  const fieldsArbitrary = fc.record({
    payload: fc.integer({ min: 1, max: 3000 }).map((length) => pattern(length, length)),
    gsoSize: fc.integer({ min: 1, max: 1500 }),
    udp: fc.boolean(),
    id: word,
    tos: fc.nat(255),
    ttl: fc.nat(255),
    fragment: fc.constantFrom(0, 0x4000),
    sequence: fc.nat(0xffffffff),
    acknowledgment: fc.nat(0xffffffff),
    window: word,
    flags: fc.nat(255).map((flags) => flags & ~(SYN | RST | URG)),
    sourcePort: word,
    destinationPort: word,
    options: fc.uint8Array({ maxLength: 10, size: "max" }).map((o) =>
      new Uint8Array(o.length * 4).fill(7)
    ),
  });
  fc.assert(
    fc.property(fieldsArbitrary, ({ udp, gsoSize, ...fields }) => {
      // A GSO packet has at least two segments, and a frame at most so many.
      const segments = Math.ceil(fields.payload.length / gsoSize);
      fc.pre(segments > 1 && segments <= (udp ? 64 : 512));
      const { packet, header } = gsoPacket(udp ? udpPacket(fields) : tcpPacket(fields), gsoSize);
      const packets = segmentAll([{ header, packet }]);
      for (const each of packets) assert(checksumsRight(each));
      const merged = merge(packets);
      assertEquals(merged.length, 1);
      assertEquals(merged[0]!.header, header);
      assertEquals(merged[0]!.packet, packet);
    }),
    { numRuns: 500 },
  );
});

Deno.test("Merger loses, adds and changes no packet of any input", () => {
  const flow = fc.record({
    udp: fc.boolean(),
    port: fc.nat(3),
    size: fc.constantFrom(0, 1, 7, 8, 100),
    jump: fc.constantFrom(0, 0, 0, 0, 1, -50),
    flags: fc.constantFrom(ACK, ACK, ACK, ACK | PSH, ACK | FIN, ACK | SYN, ACK | CWR, ACK | ECE),
    spoil: fc.constantFrom(-1, -1, -1, -1, 3, 10, 21, 30, 45),
    garbage: fc.option(fc.uint8Array({ minLength: 20, maxLength: 80, size: "max" }), { freq: 10 }),
  });
  fc.assert(
    fc.property(fc.array(flow, { maxLength: 60, size: "max" }), (steps) => {
      const position = [0, 0, 0, 0, 0, 0, 0, 0];
      const ids = [0, 0, 0, 0, 0, 0, 0, 0];
      const packets = steps.map((step, i) => {
        if (step.garbage !== null) {
          const bytes = Uint8Array.from(step.garbage);
          bytes.set([0x45 + (bytes[0]! & 1), bytes[1]!, 0, bytes.length], 0);
          if (bytes.length >= 24) return bytes;
        }
        const key = step.port + (step.udp ? 4 : 0);
        const fields = {
          payload: pattern(step.size, i),
          sourcePort: step.port,
          sequence: (position[key]! + step.jump) >>> 0,
          id: ids[key]!++ & 0xffff,
          flags: step.flags,
        };
        position[key]! += step.size;
        const packet = step.udp ? udpPacket(fields) : tcpPacket(fields);
        if (step.spoil > 3 && step.spoil < packet.length) packet[step.spoil]! ^= 0x20;
        return packet;
      });
      const again = segmentAll(merge(packets));
      // Each flow, and all other packets together, must keep their packets and their order.
      const flowOf = (packet: Uint8Array) =>
        packet[0] === 0x45 && (packet[6]! & 0x3f) === 0 && packet[7] === 0
          ? [...packet.slice(9, 10), ...packet.slice(12, 24)].join()
          : "other";
      // With DF the identification has no meaning (RFC 6864), and merging does not keep it.
      const withoutId = (packet: Uint8Array) => {
        if (packet[0] !== 0x45 || packet[6] !== 0x40) return packet;
        const copy = packet.slice();
        for (const at of [4, 5, 10, 11]) copy[at] = 0;
        return copy;
      };
      const byFlow = (list: Uint8Array[]) => Object.groupBy(list.map(withoutId), flowOf);
      assertEquals(byFlow(again), byFlow(packets));
    }),
    { numRuns: 2000 },
  );
});

Deno.test("Merger never crashes or loops on random bytes that resemble packets", () => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ minLength: 20, maxLength: 90, size: "max" }), { maxLength: 20 }),
      fc.array(fc.constantFrom(1, 6, 17), { minLength: 20, maxLength: 20 }),
      (bodies, protocols) => {
        const packets = bodies.map((body, i) => {
          const bytes = Uint8Array.from(body);
          bytes[0] = 0x40 | Math.min(5 + (bytes[0]! & 1), bytes.length >> 2);
          bytes[2] = 0;
          bytes[3] = bytes.length;
          bytes[9] = protocols[i]!;
          return bytes;
        }).filter((bytes) =>
          packetLength(new DataView(bytes.buffer), 0, bytes.length) === bytes.length
        );
        assertEquals(merge(packets).map((frame) => frame.packet), packets);
      },
    ),
    { numRuns: 2000 },
  );
});

Deno.test("FrameVector clears the header of a former frame", () => {
  merge(run(3, 100));
  assertEquals(merge([ipv4Packet({ protocol: 1 })])[0]!.header, plainHeader());
});
