import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { TokenBucket } from "./token_bucket.ts";

Deno.test("TokenBucket.take() lets a burst through, then one after the other", () => {
  const bucket = new TokenBucket(100, 3, 0);
  assertEquals([bucket.take(0), bucket.take(0), bucket.take(0), bucket.take(0)], [0, 0, 0, 10]);
  assertEquals([bucket.take(10), bucket.take(10), bucket.take(1000)], [0, 10, 0]);
});

Deno.test("TokenBucket.take() grants exactly as much as burst and rate allow", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 5000 }),
      fc.integer({ min: 1, max: 50 }),
      fc.array(fc.nat(40), { minLength: 1, maxLength: 200 }),
      (rate, burst, gaps) => {
        const bucket = new TokenBucket(rate, burst, 0);
        let now = 0;
        let sent = 0;
        for (const gap of gaps) {
          now += gap;
          const wait = bucket.take(now);
          if (wait === 0) sent++;
          else {
            now += wait;
            assertEquals(bucket.take(now), 0, "after the returned wait");
            sent++;
          }
          assert(sent <= burst + now * rate / 1000 + 1e-6);
        }
      },
    ),
  );
});

Deno.test("TokenBucket.take() succeeds after the returned wait, in spite of rounding", () => {
  const bucket = new TokenBucket(4, 6, 0);
  let now = 0;
  for (const gap of [0, 20, 23, 19, 29, 3, 15, 0]) {
    now += gap;
    const wait = bucket.take(now);
    now += wait;
    if (wait > 0) assertEquals(bucket.take(now), 0);
  }
});

Deno.test("TokenBucket refuses a rate or a burst that grants nothing", () => {
  for (const [rate, burst] of [[0, 1], [-1, 1], [NaN, 1], [1, 0]] as const) {
    assertThrows(() => new TokenBucket(rate, burst, 0), RangeError);
  }
});
