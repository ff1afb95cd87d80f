import { assert, assertEquals, assertMatch } from "@std/assert";
import { randomMac } from "./mac.ts";

Deno.test("randomMac() is locally administered, of one station, and another each time", () => {
  const macs = Array.from({ length: 1000 }, randomMac);
  for (const mac of macs) {
    assertMatch(mac, /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/);
    assertEquals(parseInt(mac.slice(0, 2), 16) & 0b11, 0b10);
  }
  // 46 random bits: two alike among a thousand come once in 10^8 runs.
  assertEquals(new Set(macs).size, 1000);
  assert(new Set(macs.map((mac) => mac.slice(0, 2))).size > 32);
});
