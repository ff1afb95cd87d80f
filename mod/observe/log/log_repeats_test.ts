import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { Repeats } from "./log_repeats.ts";

/** A limiter on a clock of its own, and its reports. */
function limiter(options: { burst?: number; window?: number; capacity?: number } = {}) {
  const clock = { now: 0 };
  const reported: [string, number, number][] = [];
  const repeats = new Repeats<string>({
    ...options,
    now: () => clock.now,
    onOmitted: (...what) => reported.push(what),
  });
  return { clock, reported, repeats, admit: (key: string) => repeats.admit(key, key) };
}

Deno.test("Repeats lets a burst pass, then counts until the window is over", () => {
  using stack = new DisposableStack();
  const { clock, reported, repeats, admit } = limiter({ burst: 3, window: 60_000 });
  stack.use(repeats);
  assertEquals([1, 2, 3, 4, 5].map(() => admit("a")), [true, true, true, false, false]);
  assertEquals(admit("b"), true);
  clock.now = 59_999;
  assertEquals(admit("a"), false);
  assertEquals(reported, []);
  clock.now = 60_000;
  assertEquals(admit("a"), true);
  assertEquals(reported, [["a", 3, 59.999]]);
});

Deno.test("Repeats reports without another line when the window is over", async () => {
  const { promise, resolve } = Promise.withResolvers<[string, number]>();
  using repeats = new Repeats<string>({
    burst: 1,
    window: 20,
    onOmitted: (line, count) => resolve([line, count]),
  });
  repeats.admit("a", "a");
  repeats.admit("a", "a");
  // Its timer keeps nothing alive.
  const alive = setInterval(() => {}, 1000);
  assertEquals(await promise, ["a", 1]);
  clearInterval(alive);
});

Deno.test("Repeats.flush() reports the rest once", () => {
  const { reported, repeats, admit } = limiter({ burst: 1 });
  for (const key of ["a", "a", "b", "a"]) admit(key);
  repeats.flush();
  repeats.flush();
  assertEquals(reported, [["a", 2, 0]]);
});

Deno.test("Repeats loses no line, remembers no more than it may, and writes each burst", () => {
  const steps = fc.array(fc.record({ key: fc.constantFrom("a", "b", "c", "d"), wait: fc.nat(40) }));
  fc.assert(fc.property(steps, (steps) => {
    const { clock, reported, repeats, admit } = limiter({ burst: 2, window: 50, capacity: 3 });
    const written = new Map<string, number>();
    for (const { key, wait } of steps) {
      clock.now += wait;
      if (admit(key)) written.set(key, (written.get(key) ?? 0) + 1);
    }
    repeats.flush();
    for (const [key, count] of written) {
      const omitted = reported.filter(([line]) => line === key).reduce((sum, [, n]) => sum + n, 0);
      assertEquals(count + omitted, steps.filter((step) => step.key === key).length);
    }
  }));
});
