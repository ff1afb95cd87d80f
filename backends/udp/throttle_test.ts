import { assert, assertEquals } from "@std/assert";
import { Throttle } from "./throttle.ts";

const sleep = (milliseconds: number) =>
  new Promise<void>((resolve) => setTimeout(resolve, milliseconds));

Deno.test("Throttle runs the work once for all requests until then, and again for later ones", async () => {
  let done = 0;
  using throttle = new Throttle(() => done++);
  for (let i = 0; i < 10; i++) throttle.request();
  assertEquals(done, 0);
  while (done === 0) await sleep(10);
  await sleep(500);
  assertEquals(done, 1);
  throttle.request();
  while (done === 1) await sleep(10);
  assertEquals(done, 2);
});

Deno.test("Throttle rests twenty times as long as the work took", async () => {
  const begun: number[] = [];
  using throttle = new Throttle(() => {
    begun.push(performance.now());
    while (performance.now() < begun.at(-1)! + 30);
  });
  for (let i = 1; i <= 3; i++) {
    throttle.request();
    while (begun.length < i) await sleep(10);
  }
  // Timers have a resolution of a millisecond.
  for (const i of [1, 2]) assert(begun[i]! - begun[i - 1]! >= 21 * 30 - 2, `${begun}`);
});

Deno.test("Throttle runs nothing after its disposal", async () => {
  let done = 0;
  {
    using throttle = new Throttle(() => done++);
    throttle.request();
  }
  await sleep(300);
  assertEquals(done, 0);
});
