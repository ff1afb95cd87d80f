import { assertEquals } from "@std/assert";
import { FakeTime } from "../testing/time_lab.ts";
import { Timer } from "./timer.ts";

Deno.test("Timer fires once, after the time it was set to", () => {
  using time = new FakeTime();
  let fired = 0;
  using timer = new Timer(() => fired++);
  assertEquals(timer.isSet, false);
  timer.set(1000);
  assertEquals(timer.isSet, true);
  time.tick(999);
  assertEquals(fired, 0);
  time.tick(1);
  assertEquals([fired, timer.isSet], [1, false]);
  time.tick(100_000);
  assertEquals(fired, 1);
});

Deno.test("Timer.set() replaces the planned time", () => {
  using time = new FakeTime();
  let fired = 0;
  using timer = new Timer(() => fired++);
  timer.set(1000);
  timer.set(3000);
  assertEquals(time.planned, [3000]);
  timer.set(200);
  assertEquals(time.planned, [200]);
  time.tick(5000);
  assertEquals(fired, 1);
});

Deno.test("Timer.set() may be called from the timer's callback", () => {
  using time = new FakeTime();
  const fired: boolean[] = [];
  using timer: Timer = new Timer(() => {
    fired.push(timer.isSet);
    if (fired.length < 3) timer.set(10);
  });
  timer.set(10);
  time.tick(100);
  assertEquals(fired, [false, false, false]);
});

Deno.test("Timer.clear() and its disposal stop it", () => {
  using time = new FakeTime();
  let fired = 0;
  {
    using timer = new Timer(() => fired++);
    timer.set(10);
    timer.clear();
    timer.clear();
    assertEquals(timer.isSet, false);
    timer.set(10);
  }
  assertEquals(time.planned, []);
  time.tick(100);
  assertEquals(fired, 0);
});

Deno.test("Timer.set() does not fire at once when the time is longer than setTimeout can take", async () => {
  using time = new FakeTime();
  using timer = new Timer(() => {});
  timer.set(30 * 24 * 3600 * 1000);
  const [delay] = time.planned;
  time[Symbol.dispose]();
  // The real one takes what the timer asked for as it is.
  let fired = false;
  const real = setTimeout(() => fired = true, delay);
  await new Promise((resolve) => setTimeout(resolve, 20));
  clearTimeout(real);
  assertEquals([fired, delay], [false, 2 ** 31 - 1]);
});

Deno.test("Timer works with the real clock", async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  using timer = new Timer(resolve);
  const started = performance.now();
  timer.set(20);
  await promise;
  assertEquals(performance.now() - started >= 19, true);
});
