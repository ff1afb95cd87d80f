import { assert } from "@std/assert";
import { sleep } from "./sleep.ts";

Deno.test("sleep() waits", async () => {
  const before = performance.now();
  await sleep(20, new AbortController().signal);
  assert(performance.now() - before >= 19);
});

Deno.test("sleep() returns when the signal aborts, and at once when it has", async () => {
  const abort = new AbortController();
  const sleeping = sleep(60_000, abort.signal);
  abort.abort();
  await sleeping;
  await sleep(60_000, abort.signal);
});
