import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { naiveChecksum } from "../../backends/udp/user/testing/packets.ts";
import { fold, onesComplementSum, swap16, updateChecksum } from "./checksum.ts";

Deno.test("onesComplementSum() gives the example of RFC 1071, 3", () => {
  const bytes = Uint8Array.of(0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7);
  assertEquals(swap16(onesComplementSum(new DataView(bytes.buffer), 0, 8)), 0xddf2);
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
