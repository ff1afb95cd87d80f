import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { LineRate } from "./log_rate.ts";

/** A limiter on a clock of its own, and the sums it reports. */
function limiter(rate?: number) {
  const clock = { now: 0 };
  const sums: [last: string, count: number, seconds: number][] = [];
  const limit = new LineRate<string>({
    ...(rate === undefined ? {} : { rate }),
    now: () => clock.now,
    onOmitted: (...sum) => sums.push(sum),
  });
  return { clock, sums, limit, admit: (key: string, line = key) => limit.admit(key, line) };
}

Deno.test("LineRate lets a hundred lines of a kind pass in a second, whatever their text", () => {
  const { limit, sums, admit, clock } = limiter();
  let written = 0;
  for (let i = 0; i < 5_000; i++) if (admit("peers.ts:79", `subnet ${i}`)) written++;
  assertEquals(written, 100);
  assert(admit("other.ts:1"));
  clock.now = 3_000;
  assert(admit("peers.ts:79", "later"));
  assertEquals(sums, [["subnet 4999", 4_900, 0]]);
  limit.flush();
  assertEquals(sums.length, 1);
});

Deno.test("LineRate leaves a flood out for as long as it lasts, and then begins again", () => {
  const { limit, sums, admit, clock } = limiter();
  let written = 0;
  // 200 a second for an hour.
  for (let i = 0; i < 200 * 3600; i++) {
    clock.now = i * 5;
    if (admit("kind", String(i))) written++;
    // Does the timer's work on this clock.
    if (i % 2000 === 1999) limit.flush();
  }
  assertEquals(written, 100);
  assertEquals(sums.length, 360);
  assertEquals(sums.reduce((sum, [, count]) => sum + count, 0) + written, 200 * 3600);
  // 50 a second are read again, once a second has shown that they are not more.
  let later = 0;
  for (let i = 0; i < 200; i++) {
    clock.now += 20;
    if (admit("kind", `later ${i}`)) later++;
  }
  assert(later >= 98 && later < 200, String(later));
});

Deno.test("LineRate reports by itself when a flood is over", async () => {
  const { promise, resolve } = Promise.withResolvers<[string, number]>();
  const limit = new LineRate<string>({ rate: 1, onOmitted: (last, n) => resolve([last, n]) });
  for (const line of ["a", "b", "c"]) limit.admit("kind", line);
  // Its timer keeps nothing alive.
  const alive = setInterval(() => {}, 1000);
  assertEquals(await promise, ["c", 2]);
  clearInterval(alive);
});

Deno.test("LineRate loses no line, and writes all where they are few", () => {
  const steps = fc.array(fc.record({ key: fc.constantFrom("a", "b"), wait: fc.nat(900) }));
  fc.assert(fc.property(steps, fc.integer({ min: 1, max: 5 }), (steps, rate) => {
    const { limit, clock, sums, admit } = limiter(rate);
    let written = 0;
    for (const { key, wait } of steps) {
      clock.now += wait;
      if (admit(key)) written++;
    }
    limit.flush();
    assertEquals(written + sums.reduce((sum, [, count]) => sum + count, 0), steps.length);
    if (steps.every(({ wait }) => wait * rate >= 1000)) assertEquals(sums, []);
  }));
});
