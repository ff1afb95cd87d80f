import { assertEquals } from "@std/assert";
import { libc } from "./libc.ts";
import { EventFd, Poller } from "./poller.ts";

libc();

Deno.test("Poller.wait() returns a bit for each descriptor that is ready, 0 after the time", () => {
  using first = new EventFd();
  using second = new EventFd();
  using poller = new Poller([first.fd, second.fd]);
  const started = performance.now();
  assertEquals(poller.wait(20), 0);
  assertEquals(performance.now() - started >= 19, true);
  second.notify();
  assertEquals(poller.wait(-1), 0b10);
  first.notify();
  assertEquals(poller.wait(-1), 0b11);
  first.reset();
  second.reset();
  assertEquals(poller.wait(0), 0);
});

Deno.test("Poller.wait() reports a descriptor that is closed as ready", () => {
  const event = new EventFd();
  using poller = new Poller([event.fd]);
  event[Symbol.dispose]();
  assertEquals(poller.wait(-1), 1);
});

Deno.test("Poller.waitAsync() waits off this thread until an event comes", async () => {
  using event = new EventFd();
  using poller = new Poller([event.fd]);
  let ready = false;
  const waiting = poller.waitAsync().then(() => ready = true);
  await new Promise((resolve) => setTimeout(resolve, 20));
  assertEquals(ready, false);
  event.notify();
  await waiting;
  assertEquals(poller.wait(0), 1);
});
