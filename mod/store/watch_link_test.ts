import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { reconnectDelay } from "./watch_link.ts";

const TIMING = { firstBackoff: 100, longestBackoff: 5_000 };

Deno.test("reconnectDelay() spreads first attempts over ten times the first backoff", () => {
  assertEquals(reconnectDelay(TIMING, 0, () => 0), 0);
  assertEquals(reconnectDelay(TIMING, 0, () => 0.5), 500);
  const slots = new Array<number>(10).fill(0);
  for (let i = 0; i < 10_000; i++) slots[Math.floor(reconnectDelay(TIMING, 0) / 100)]!++;
  // 1,000 each on average with a deviation of 30: seven deviations fail once in 10^11 runs.
  for (const [slot, count] of slots.entries()) {
    assert(Math.abs(count - 1_000) < 210, `${slot}: ${count}`);
  }
});

Deno.test("reconnectDelay() doubles with further failures, up to the longest backoff", () => {
  const longest = [1, 2, 3, 4, 5, 6, 50].map((failures) =>
    reconnectDelay(TIMING, failures, () => 1)
  );
  assertEquals(longest, [200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
  fc.assert(fc.property(
    fc.integer({ min: 1, max: 100 }),
    fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
    (failures, random) => {
      const most = reconnectDelay(TIMING, failures, () => 1);
      const delay = reconnectDelay(TIMING, failures, () => random);
      assert(delay >= most / 2 && delay <= most);
    },
  ));
});
