import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { checksumsRight, gsoPacket, memoryWith, pattern } from "../testing/packets.ts";
import { tcpPacket, udpPacket } from "../testing/packets.ts";
import { PacketMemory } from "./memory.ts";
import { completeChecksum, CWR, FIN, PSH, Segmenter } from "./segment.ts";
import { plainHeader, type VirtioHeader } from "./virtio.ts";

const FROM = 1024;
const TO = 1 << 17;

/** All segments of a GSO packet; `undefined` when it is refused. */
function segmentsOf(packet: Uint8Array, header: VirtioHeader): Uint8Array[] | undefined {
  const memory = memoryWith(packet, FROM, 1 << 19);
  const segmenter = new Segmenter(memory);
  if (!segmenter.begin(header, FROM, packet.length)) return undefined;
  const segments: Uint8Array[] = [];
  for (;;) {
    const written = segmenter.next(TO, 65507, 64);
    if (written === 0) return segments;
    for (let at = TO; at < TO + written; at += segmenter.segmentLength) {
      segments.push(
        memory.bytes.slice(at, Math.min(at + segmenter.segmentLength, TO + written)),
      );
    }
  }
}

/** Fields by the offsets that RFC 791 and RFC 9293 draw. */
function fields(packet: Uint8Array) {
  const view = new DataView(packet.buffer, packet.byteOffset, packet.length);
  const tcp = (packet[0]! & 15) * 4;
  return {
    total: view.getUint16(2),
    id: view.getUint16(4),
    sequence: view.getUint32(tcp + 4),
    flags: packet[tcp + 13]!,
  };
}

Deno.test("Segmenter sets lengths, ids, sequence numbers, flags and checksums of TCP segments", () => {
  const payload = pattern(1000);
  const options = Uint8Array.of(1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2);
  const { packet, header } = gsoPacket(
    tcpPacket({ payload, options, id: 0xfffe, sequence: 0xfffffe00, flags: 0x10 | FIN | PSH }),
    400,
  );
  const segments = segmentsOf(packet, header)!;
  assertEquals(segments.map(fields), [
    { total: 452, id: 0xfffe, sequence: 0xfffffe00, flags: 0x10 },
    { total: 452, id: 0xffff, sequence: 0xffffff90, flags: 0x10 },
    { total: 252, id: 0x0000, sequence: 0x00000120, flags: 0x10 | FIN | PSH },
  ]);
  for (const segment of segments) {
    assert(checksumsRight(segment));
    assertEquals(segment.slice(40, 52), options);
  }
  assertEquals(segments.flatMap((segment) => [...segment.slice(52)]), [...payload]);
});

Deno.test("Segmenter keeps CWR on the first segment only", () => {
  const { packet, header } = gsoPacket(
    tcpPacket({ payload: pattern(900), flags: 0x10 | CWR | PSH, tos: 2 }),
    300,
  );
  assertEquals(header.gsoType, 0x81);
  assertEquals(
    segmentsOf(packet, header)!.map((segment) => fields(segment).flags),
    [0x10 | CWR, 0x10, 0x10 | PSH],
  );
});

Deno.test("Segmenter sets lengths and checksums of UDP datagrams", () => {
  const payload = pattern(250);
  const { packet, header } = gsoPacket(udpPacket({ payload, id: 7 }), 100);
  const segments = segmentsOf(packet, header)!;
  assertEquals(segments.map((segment) => segment.length), [128, 128, 78]);
  for (const [i, segment] of segments.entries()) {
    assert(checksumsRight(segment));
    assertEquals(fields(segment).id, 7 + i);
    assertEquals(segment[24]! * 256 + segment[25]!, segment.length - 20);
  }
  assertEquals(segments.flatMap((segment) => [...segment.slice(28)]), [...payload]);
});

Deno.test("Segmenter writes 0xffff where a UDP checksum computes to zero", () => {
  const packet = udpPacket({ payload: new Uint8Array(4), destinationPort: 0 });
  // A word that makes the first datagram's sum 0xffff, and its complement zero.
  const view = new DataView(packet.buffer);
  const one = gsoPacket(packet, 2);
  const sum = segmentsOf(one.packet, one.header)![0]!;
  view.setUint16(28, new DataView(sum.buffer).getUint16(26));
  const { header, packet: spoiled } = gsoPacket(packet, 2);
  const first = segmentsOf(spoiled, header)![0]!;
  assertEquals([first[26], first[27]], [0xff, 0xff]);
});

Deno.test("Segmenter keeps IP options in every segment", () => {
  const { packet, header } = gsoPacket(
    tcpPacket({ payload: pattern(50), ipOptions: Uint8Array.of(0x94, 4, 0, 0) }),
    20,
  );
  for (const segment of segmentsOf(packet, header)!) {
    assertEquals([...segment.slice(20, 24)], [0x94, 4, 0, 0]);
    assert(checksumsRight(segment));
  }
});

Deno.test("next() stops at the limits of room and segments, and continues from there", () => {
  const { packet, header } = gsoPacket(tcpPacket({ payload: pattern(1000) }), 100);
  const memory = memoryWith(packet, FROM);
  const segmenter = new Segmenter(memory);
  assert(segmenter.begin(header, FROM, packet.length));
  assertEquals(segmenter.segmentLength, 140);
  memory.bytes.fill(0xaa, TO, TO + 600);
  assertEquals(segmenter.next(TO, 300, 64), 280);
  assertEquals(memory.bytes[TO + 280], 0xaa);
  assertEquals(segmenter.next(TO, 65507, 3), 420);
  assertEquals(segmenter.next(TO, 139, 64), 0);
  assertEquals(segmenter.next(TO, 65507, 64), 700);
  assertEquals(segmenter.next(TO, 65507, 64), 0);
});

Deno.test("begin() refuses a packet that differs from its virtio header", () => {
  const tcp = tcpPacket({ payload: pattern(100) });
  const cases: [string, Uint8Array, Partial<VirtioHeader>][] = [
    ["no segment size", tcp, { gsoSize: 0 }],
    ["UDP announced, TCP found", tcp, { gsoType: 5 }],
    ["TCP over IPv6", tcp, { gsoType: 4 }],
    ["UDP fragmentation, gone from Linux", tcp, { gsoType: 3 }],
    ["a fragment", tcpPacket({ payload: pattern(100), fragment: 0x2000 }), {}],
    ["no payload", tcpPacket({}), {}],
    ["a TCP header that leaves the packet", tcp.slice(), { gsoSize: 65530 }],
    ["UDP announced, no header", udpPacket({}).slice(0, 24), { gsoType: 5 }],
  ];
  for (const [what, packet, spoil] of cases) {
    const { header } = gsoPacket(tcp, 10);
    assertEquals(segmentsOf(packet, { ...header, ...spoil }), undefined, what);
  }
  const { packet, header } = gsoPacket(tcp, 10);
  packet[32] = 0x40;
  assertEquals(segmentsOf(packet, header), undefined, "a data offset of 16 bytes");
  packet[32] = 0xf0;
  assertEquals(segmentsOf(packet, header)!.length, Math.ceil((140 - 80) / 10));
});

Deno.test("Segmenter never crashes, loops or writes outside its room on random input", () => {
  const memory = new PacketMemory(1 << 19);
  const segmenter = new Segmenter(memory);
  const word = fc.nat(0xffff);
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 300, size: "max" }),
      fc.record({
        flags: fc.nat(255),
        gsoType: fc.constantFrom(1, 5, 0x81, 3, 4, 0, 255),
        headerLength: word,
        gsoSize: fc.oneof(word, fc.nat(8)),
        csumStart: word,
        csumOffset: word,
      }),
      fc.boolean(),
      fc.nat(1000),
      (bytes, header, plausible, room) => {
        if (plausible && bytes.length >= 40) {
          bytes.set([0x45, 0, bytes.length >> 8, bytes.length & 255, 0, 0, 0x40, 0]);
          bytes[9] = (header.gsoType & 0x7f) === 1 ? 6 : 17;
          bytes[32] = 0x50 | (bytes[32]! & 0x3f);
        }
        memory.bytes.set(bytes, FROM);
        memory.bytes.fill(0xaa, TO - 8, TO + room + 8);
        if (segmenter.begin(header, FROM, bytes.length)) {
          let calls = 0;
          while (segmenter.next(TO, room, 64) > 0) assert(++calls <= 300);
        }
        for (let i = 1; i <= 8; i++) {
          assertEquals([memory.bytes[TO - i], memory.bytes[TO + room + i - 1]], [0xaa, 0xaa]);
        }
        completeChecksum(memory, header, FROM, bytes.length);
      },
    ),
    { numRuns: 2000 },
  );
});

Deno.test("completeChecksum() completes TCP and UDP checksums, and leaves complete ones unaltered", () => {
  for (
    const original of [tcpPacket({ payload: pattern(77) }), udpPacket({ payload: pattern(6) })]
  ) {
    const { packet, header } = gsoPacket(original, 1);
    const memory = memoryWith(packet, FROM);
    assert(completeChecksum(memory, { ...header, gsoType: 0 }, FROM, packet.length));
    assertEquals(memory.bytes.slice(FROM, FROM + packet.length), original);
    assert(completeChecksum(memory, plainHeader(), FROM, packet.length));
    assertEquals(memory.bytes.slice(FROM, FROM + packet.length), original);
  }
});

Deno.test("completeChecksum() refuses to read outside the packet", () => {
  const { packet, header } = gsoPacket(udpPacket({ payload: pattern(6) }), 1);
  const memory = memoryWith(packet, FROM);
  for (const spoil of [{ csumStart: 19 }, { csumStart: 40 }, { csumOffset: 40 }]) {
    assert(!completeChecksum(memory, { ...header, ...spoil }, FROM, packet.length));
  }
});
