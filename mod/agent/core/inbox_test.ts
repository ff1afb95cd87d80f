import { assertEquals, assertRejects } from "@std/assert";
import fc from "fast-check";
import { Inbox } from "./inbox.ts";

const never = new AbortController().signal;

Deno.test("Inbox.next() returns pushed events in order", async () => {
  const inbox = new Inbox<number>();
  inbox.push(1);
  inbox.push(2);
  assertEquals([await inbox.next(never), await inbox.next(never)], [1, 2]);
});

Deno.test("Inbox.next() waits for a later push", async () => {
  const inbox = new Inbox<string>();
  const next = inbox.next(never);
  await Promise.resolve();
  inbox.push("a");
  inbox.push("b");
  assertEquals(await next, "a");
  assertEquals(await inbox.next(never), "b");
});

Deno.test("Inbox.first is the next event, which stays in the queue", async () => {
  const inbox = new Inbox<number>();
  assertEquals(inbox.first, undefined);
  inbox.push(1);
  inbox.push(2);
  assertEquals([inbox.first, inbox.first], [1, 1]);
  assertEquals(await inbox.next(never), 1);
  assertEquals(inbox.first, 2);
  assertEquals(await inbox.next(never), 2);
  assertEquals(inbox.first, undefined);
});

Deno.test("Inbox.next() rejects with the signal's reason, at once or while it waits", async () => {
  const inbox = new Inbox<number>();
  const aborted = AbortSignal.abort(new Error("over"));
  await assertRejects(() => inbox.next(aborted), Error, "over");
  // The event stays for a later reader.
  inbox.push(1);
  await assertRejects(() => inbox.next(aborted), Error, "over");
  assertEquals(await inbox.next(never), 1);

  const controller = new AbortController();
  const next = inbox.next(controller.signal);
  controller.abort(new Error("now"));
  await assertRejects(() => next, Error, "now");
  inbox.push(2);
  assertEquals(await inbox.next(never), 2);
});

Deno.test("Inbox.next() leaves no listener on the signal", async () => {
  const inbox = new Inbox<number>();
  const controller = new AbortController();
  const { signal } = controller;
  let listeners = 0;
  const { addEventListener, removeEventListener } = signal;
  signal.addEventListener = (...args: unknown[]) => {
    listeners++;
    Reflect.apply(addEventListener, signal, args);
  };
  signal.removeEventListener = (...args: unknown[]) => {
    listeners--;
    Reflect.apply(removeEventListener, signal, args);
  };
  for (let i = 0; i < 100; i++) {
    const next = inbox.next(signal);
    inbox.push(i);
    assertEquals(await next, i);
  }
  assertEquals(listeners, 0);
});

Deno.test("Inbox loses nothing and keeps the order, however pushes and reads interleave", async () => {
  const bursts = fc.array(fc.nat(4), { maxLength: 20 });
  await fc.assert(fc.asyncProperty(bursts, async (bursts) => {
    const inbox = new Inbox<number>();
    const total = bursts.reduce((sum, burst) => sum + burst, 0);
    const read = (async () => {
      const numbers: number[] = [];
      while (numbers.length < total) numbers.push(await inbox.next(never));
      return numbers;
    })();
    let number = 0;
    for (const burst of bursts) {
      for (let i = 0; i < burst; i++) inbox.push(number++);
      await Promise.resolve();
    }
    assertEquals(await read, Array.from({ length: total }, (_, i) => i));
    assertEquals(inbox.first, undefined);
  }));
});
