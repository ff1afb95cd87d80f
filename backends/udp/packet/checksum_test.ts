import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { naiveChecksum } from "./_fixtures.ts";
import { fold, onesComplementSum, swap16, updateChecksum } from "./checksum.ts";
import { PacketMemory } from "./memory.ts";

Deno.test("onesComplementSum() gives the example of RFC 1071, 3", () => {
  const bytes = Uint8Array.of(0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7);
  assertEquals(swap16(onesComplementSum(new DataView(bytes.buffer), 0, 8)), 0xddf2);
});

Deno.test("onesComplementSum() and the vector kernel equal the naive sum at any place and length", () => {
  const memory = new PacketMemory(1 << 18);
  const scalar = new PacketMemory(1 << 18, { vectors: false });
  assert(memory.vectorized);
  assert(!scalar.vectorized);
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

Deno.test("sum() carries rightly in the largest packet of ones", () => {
  for (const vectors of [true, false]) {
    const memory = new PacketMemory(1 << 17, { vectors });
    memory.bytes.fill(0xff);
    assertEquals(memory.sum(1, 65535), fold(32767 * 0xffff + 0xff));
    assertEquals(memory.copyAndSum(65536, 0, 65535), fold(32767 * 0xffff + 0xff));
  }
});

Deno.test("sum() refuses to leave the memory", () => {
  for (const vectors of [true, false]) {
    const memory = new PacketMemory(65536, { vectors });
    assertThrows(() => memory.sum(65530, 7));
  }
});

Deno.test("fold() agrees with arithmetic modulo 65535 for sums up to 2^52", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 2 ** 52 }), (sum) => {
      const folded = fold(sum);
      assert(folded > 0 && folded <= 0xffff);
      assertEquals(folded % 0xffff, sum % 0xffff);
    }),
    { numRuns: 2000 },
  );
});

Deno.test("updateChecksum() gives the example of RFC 1624, 4", () => {
  assertEquals(updateChecksum(0xdd2f, 0x5555, 0x3285), 0x0000);
});

Deno.test("updateChecksum() equals a fresh checksum for any change", () => {
  fc.assert(fc.property(
    fc.uint8Array({ minLength: 20, maxLength: 20 }),
    fc.nat(9),
    fc.nat(0xffff),
    (bytes, word, after) => {
      bytes[0] = 0x45; // A header is never all zero.
      const index = word === 0 ? 2 : word * 2;
      const view = new DataView(bytes.buffer, bytes.byteOffset);
      const checksum = naiveChecksum(bytes);
      const before = view.getUint16(index);
      view.setUint16(index, after);
      assertEquals(updateChecksum(checksum, before, after), naiveChecksum(bytes));
    },
  ));
});

Deno.test("allocate() aligns to cache lines and refuses what does not fit", () => {
  const memory = new PacketMemory(65536);
  assertEquals([memory.allocate(1), memory.allocate(64), memory.allocate(65)], [0, 64, 128]);
  assertThrows(() => memory.allocate(65536), RangeError, "has no 65536 after 256");
});
