import { assertEquals } from "@std/assert";
import { ExpiryQueue } from "./expiry_queue.ts";

Deno.test("ExpiryQueue expires an entry whose timer is early, and which falls due in the same moment", async () => {
  const { promise: expired, resolve } = Promise.withResolvers<string[]>();
  // Each reading of the clock, in milliseconds: the entry starts, the timer is armed, the timer's check is early.
  const readings = [0, 999.9, 999.9];
  using queue = new ExpiryQueue({
    now: () => readings.shift() ?? 1_000,
    expire: () => {
      const due = queue.due();
      queue.forget(due);
      resolve(due.map(({ key }) => key));
    },
    attempt: (step) => {
      step();
      return true;
    },
  });
  queue.replace([{ key: "/a", revision: 1, ttl: 1 }]);
  // The queue's timer does not keep a process alive.
  const alive = setTimeout(() => resolve([]), 2_000);
  assertEquals(await expired, ["/a"]);
  clearTimeout(alive);
});
