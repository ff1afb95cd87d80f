import { assertEquals, assertRejects } from "@std/assert";
import { abortable } from "./abortable.ts";

Deno.test("abortable() has the outcome of its promise", async () => {
  const { signal } = new AbortController();
  assertEquals(await abortable(Promise.resolve(1), signal), 1);
  assertEquals(await abortable(Promise.resolve(2), undefined), 2);
  await assertRejects(
    () => abortable(Promise.reject(new Error("failed")), signal),
    Error,
    "failed",
  );
});

Deno.test("abortable() rejects with the signal's reason when that comes first", async () => {
  const never = new Promise(() => {});
  const reason = new Error("enough");
  await assertRejects(() => abortable(never, AbortSignal.abort(reason)), Error, "enough");
  const controller = new AbortController();
  const waiting = assertRejects(() => abortable(never, controller.signal), Error, "enough");
  controller.abort(reason);
  await waiting;
});

Deno.test("abortable() leaves nothing behind that a later abort would reject", async () => {
  const controller = new AbortController();
  await abortable(Promise.resolve(), controller.signal);
  controller.abort(new Error("nobody catches this"));
  await new Promise((resolve) => setTimeout(resolve));
});
