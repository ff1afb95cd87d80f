import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { naiveChecksum } from "../testing/packets.ts";
import { fold, swap16 } from "../../../../mod/ip/checksum.ts";
import { PacketMemory } from "./memory.ts";

Deno.test("sum() equals the naive sum at any offset and length, with and without SIMD", () => {
  const memory = new PacketMemory(1 << 18);
  const scalar = new PacketMemory(1 << 18, { simdChecksum: false });
  assert(memory.simdChecksum);
  assert(!scalar.simdChecksum);
  fc.assert(fc.property(
    fc.uint8Array({ maxLength: 400, size: "max" }),
    fc.integer({ min: 0, max: 65 }),
    (bytes, offset) => {
      const expected = 0xffff - naiveChecksum(bytes);
      for (const each of [memory, scalar]) {
        each.bytes.set(bytes, offset);
        assertEquals(swap16(each.sum(offset, bytes.length)), expected);
        const to = 1001 + offset;
        each.bytes.fill(0xaa, to - 1, to + bytes.length + 1);
        assertEquals(swap16(each.copyAndSum(to, offset, bytes.length)), expected);
        assertEquals(each.bytes.slice(to, to + bytes.length), bytes);
        assertEquals([each.bytes[to - 1], each.bytes[to + bytes.length]], [0xaa, 0xaa]);
      }
    },
  ));
});

Deno.test("sum() carries correctly in the largest packet of ones", () => {
  for (const simdChecksum of [true, false]) {
    const memory = new PacketMemory(1 << 17, { simdChecksum });
    memory.bytes.fill(0xff);
    assertEquals(memory.sum(1, 65535), fold(32767 * 0xffff + 0xff));
    assertEquals(memory.copyAndSum(65536, 0, 65535), fold(32767 * 0xffff + 0xff));
  }
});

Deno.test("sum() refuses a range outside the memory", () => {
  for (const simdChecksum of [true, false]) {
    const memory = new PacketMemory(65536, { simdChecksum });
    assertThrows(() => memory.sum(65530, 7));
  }
});

Deno.test("allocate() aligns to cache lines and refuses a size that does not fit", () => {
  const memory = new PacketMemory(65536);
  assertEquals([memory.allocate(1), memory.allocate(64), memory.allocate(65)], [0, 64, 128]);
  assertThrows(() => memory.allocate(65536), RangeError, "has no 65536 after 256");
});
