import { assert, assertEquals } from "@std/assert";
import { Deadline } from "./deadline.ts";

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

Deno.test("Deadline fires with its reason when the time is over", async () => {
  using deadline = new Deadline(20, () => "late");
  assert(!deadline.signal.aborted);
  await sleep(60);
  assertEquals([deadline.signal.reason, deadline.passed], ["late", true]);
});

Deno.test("Deadline fires with its parent's reason", () => {
  const parent = new AbortController();
  using deadline = new Deadline(1_000, () => "late", undefined, parent.signal);
  parent.abort("parent");
  assertEquals([deadline.signal.reason, deadline.passed], ["parent", false]);
  using born = new Deadline(1_000, () => "late", AbortSignal.abort("before"));
  assertEquals(born.signal.reason, "before");
});

Deno.test("Deadline.extend() restarts the time", async () => {
  using deadline = new Deadline(40, () => "late");
  deadline.extend(1_000, () => "later");
  await sleep(80);
  assert(!deadline.signal.aborted);
});

Deno.test("Deadline leaves nothing behind when disposed, and ends what runs under it", () => {
  const parent = new AbortController();
  let signal;
  {
    using deadline = new Deadline(1_000, () => "late", parent.signal);
    signal = deadline.signal;
    assert(!signal.aborted);
  }
  assert(signal.aborted);
  const { reason } = signal;
  parent.abort("parent");
  assertEquals(signal.reason, reason);
});

Deno.test("Deadline of Infinity never fires by itself", async () => {
  using deadline = new Deadline(Infinity, () => "late");
  await sleep(20);
  assert(!deadline.signal.aborted);
});
