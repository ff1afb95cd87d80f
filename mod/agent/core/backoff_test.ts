import { assertEquals } from "@std/assert";
import { Backoff } from "./backoff.ts";
import { FakeTime } from "../testing/time_lab.ts";

const TIMES = { shortest: 20, longest: 100, calm: 10_000 };

Deno.test("Backoff.delay grows while there is no calm, and no further than the longest", () => {
  using time = new FakeTime();
  const backoff = new Backoff(TIMES);
  const delays: number[] = [];
  for (let i = 0; i < 6; i++) {
    delays.push(backoff.delay);
    time.tick(backoff.delay);
    backoff.answered();
  }
  assertEquals(delays, [20, 20, 40, 80, 100, 100]);
});

Deno.test("Backoff.delay is the shortest again after a calm period, before and after an answer", () => {
  using time = new FakeTime();
  const backoff = new Backoff(TIMES);
  for (let i = 0; i < 6; i++) backoff.answered();
  time.tick(9_999);
  assertEquals(backoff.delay, 100);
  time.tick(1);
  assertEquals(backoff.delay, 20);
  for (let i = 0; i < 6; i++) backoff.answered();
  time.tick(10_000);
  backoff.answered();
  assertEquals(backoff.delay, 20);
});
