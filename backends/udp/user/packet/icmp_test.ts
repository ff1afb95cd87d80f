import { assert, assertEquals } from "@std/assert";
import { ipv4Packet, memoryWith, naiveChecksum, pattern, udpPacket } from "../testing/packets.ts";
import { FRAGMENTATION_NEEDED, MAX_ERROR, mayReport, NET_UNREACHABLE } from "./icmp.ts";
import { writeUnreachable } from "./icmp.ts";

Deno.test("writeUnreachable() answers from the unreachable address with TTL 8, header and 8 bytes quoted", () => {
  const packet = udpPacket({ source: 0x0a280c02, destination: 0x0a286301, payload: pattern(100) });
  const memory = memoryWith(packet, 512);
  const length = writeUnreachable(memory, 64, 512, NET_UNREACHABLE);
  const error = memory.bytes.slice(64, 64 + length);
  assertEquals(length, 20 + 8 + 28);
  assertEquals([...error.slice(0, 10)], [0x45, 0, 0, 56, 0, 0, 0, 0, 8, 1]);
  assertEquals([...error.slice(12, 20)], [10, 40, 99, 1, 10, 40, 12, 2]);
  assertEquals(naiveChecksum(error.slice(0, 20)), 0);
  assertEquals([...error.slice(20, 22)], [3, 0]);
  assertEquals([...error.slice(24, 28)], [0, 0, 0, 0]);
  assertEquals(naiveChecksum(error.slice(20)), 0);
  assertEquals(error.slice(28), packet.slice(0, 28));
});

Deno.test("writeUnreachable() reports the MTU when fragmentation is needed", () => {
  const packet = ipv4Packet({ ipOptions: Uint8Array.of(1, 1, 1, 0), payload: pattern(9) });
  const memory = memoryWith(packet, 512);
  const length = writeUnreachable(memory, 0, 512, FRAGMENTATION_NEEDED, 1372);
  const error = memory.bytes.slice(0, length);
  assertEquals(length, 28 + 24 + 8);
  assertEquals([...error.slice(20, 22)], [3, 4]);
  assertEquals([...error.slice(24, 28)], [0, 0, 1372 >> 8, 1372 & 255]);
  assertEquals(naiveChecksum(error.slice(20)), 0);
});

Deno.test("writeUnreachable() quotes at most the whole packet", () => {
  const packet = ipv4Packet({ payload: pattern(3) });
  const memory = memoryWith(packet, 512);
  assertEquals(writeUnreachable(memory, 0, 512, NET_UNREACHABLE), 28 + 23);
  assert(28 + 60 + 8 <= MAX_ERROR);
});

Deno.test("mayReport() is false for ICMP, later fragments, 60-byte headers, multicast and address 0", () => {
  const cases: [string, Uint8Array, boolean][] = [
    ["UDP", udpPacket({}), true],
    ["a first fragment", udpPacket({ fragment: 0x2000 }), true],
    ["a later fragment", udpPacket({ fragment: 0x2004 }), false],
    ["ICMP", ipv4Packet({ protocol: 1 }), false],
    ["a header of 60 bytes", ipv4Packet({ ipOptions: new Uint8Array(40) }), false],
    ["a header of 56 bytes", ipv4Packet({ ipOptions: new Uint8Array(36) }), true],
    ["to a group", udpPacket({ destination: 0xe0000001 }), false],
    ["to all", udpPacket({ destination: 0xffffffff }), false],
    ["from nobody", udpPacket({ source: 0 }), false],
    ["from a group", udpPacket({ source: 0xe0000001 }), false],
  ];
  for (const [what, packet, expected] of cases) {
    assertEquals(mayReport(memoryWith(packet, 0).view, 0, NET_UNREACHABLE), expected, what);
  }
});

Deno.test("mayReport() is true for a ping that exceeds the MTU, and false for an ICMP error", () => {
  const icmp = (type: number) => ipv4Packet({ protocol: 1, payload: Uint8Array.of(type, 0, 0, 0) });
  const may = (type: number) => mayReport(memoryWith(icmp(type), 0).view, 0, FRAGMENTATION_NEEDED);
  assertEquals([0, 8, 13].map(may), [true, true, true]);
  assertEquals([3, 4, 5, 11, 12].map(may), [false, false, false, false, false]);
});
