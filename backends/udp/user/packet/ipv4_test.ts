import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { ipv4Packet, memoryWith, naiveChecksum, pattern, tcpPacket } from "../testing/packets.ts";
import * as ipv4 from "./ipv4.ts";
import { swap16 } from "../../../../mod/ip/checksum.ts";

Deno.test("packetLength() accepts whole packets and excludes padding", () => {
  const packet = ipv4Packet({ payload: pattern(30) });
  const { view } = memoryWith(packet, 7);
  assertEquals(ipv4.packetLength(view, 7, 50), 50);
  assertEquals(ipv4.packetLength(view, 7, 99), 50);
  assertEquals(ipv4.packetLength(view, 7, 49), 0, "truncated");
  assertEquals(ipv4.packetLength(view, 7, 19), 0, "shorter than a header");
});

Deno.test("packetLength() refuses other versions and impossible lengths", () => {
  const cases: [string, (packet: Uint8Array) => void][] = [
    ["version 6", (packet) => packet[0] = 0x65],
    ["a header of 16 bytes", (packet) => packet[0] = 0x44],
    ["a header longer than the packet", (packet) => packet[3] = 19],
    ["a total length of zero", (packet) => packet.fill(0, 2, 4)],
  ];
  for (const [what, spoil] of cases) {
    const packet = ipv4Packet({ payload: pattern(10) });
    spoil(packet);
    assertEquals(ipv4.packetLength(memoryWith(packet, 0).view, 0, packet.length), 0, what);
  }
});

Deno.test("decrementTtl() keeps the checksum correct for every TTL", () => {
  fc.assert(fc.property(
    fc.integer({ min: 2, max: 255 }),
    fc.nat(0xffff),
    fc.nat(0xffffffff),
    (ttl, id, source) => {
      const packet = ipv4Packet({ ttl, id, source });
      const { view, bytes } = memoryWith(packet, 3, 1);
      assert(ipv4.decrementTtl(view, 3));
      assertEquals(bytes[3 + 8], ttl - 1);
      assertEquals(naiveChecksum(bytes.slice(3, 23)), 0);
    },
  ));
});

Deno.test("decrementTtl() refuses TTL 1 and 0 and leaves the packet unaltered", () => {
  for (const ttl of [0, 1]) {
    const packet = ipv4Packet({ ttl });
    const { view, bytes } = memoryWith(packet, 0);
    assert(!ipv4.decrementTtl(view, 0));
    assertEquals(bytes.slice(0, packet.length), packet);
  }
});

Deno.test("decrementTtl() keeps a wrong checksum wrong", () => {
  const packet = ipv4Packet({ ttl: 9 });
  packet[10]! ^= 0x40;
  const { view, bytes } = memoryWith(packet, 0);
  assert(ipv4.decrementTtl(view, 0));
  assert(naiveChecksum(bytes.slice(0, 20)) !== 0);
});

Deno.test("setHeaderChecksum() includes the options", () => {
  const packet = ipv4Packet({ ipOptions: Uint8Array.of(0x94, 4, 0, 0), payload: pattern(9) });
  const memory = memoryWith(packet, 0);
  memory.bytes[10]! ^= 1;
  ipv4.setHeaderChecksum(memory, 0);
  assertEquals(memory.bytes.slice(0, packet.length), packet);
});

Deno.test("isFragment() and isLaterFragment() read flags and offset", () => {
  const cases: [number, boolean, boolean, boolean][] = [
    [0x0000, false, false, false],
    [0x4000, false, false, true],
    [0x2000, true, false, false],
    [0x2001, true, true, false],
    [0x00b9, true, true, false],
  ];
  for (const [fragment, any, later, df] of cases) {
    const { view } = memoryWith(ipv4Packet({ fragment }), 0);
    assertEquals(
      [ipv4.isFragment(view, 0), ipv4.isLaterFragment(view, 0), ipv4.dontFragment(view, 0)],
      [any, later, df],
    );
  }
});

Deno.test("pseudoHeaderSum() and the segment's sum add up to the checksum", () => {
  const packet = tcpPacket({ payload: pattern(33) });
  const memory = memoryWith(packet, 0);
  const segment = packet.length - 20;
  const pseudo = Uint8Array.of(...packet.slice(12, 20), 0, 6, 0, segment);
  assertEquals(
    swap16(ipv4.pseudoHeaderSum(memory.view, 0, 6, segment)),
    0xffff - naiveChecksum(pseudo),
  );
});
