import { assertEquals } from "@std/assert";
import { ChildLimit } from "./child_limit.ts";

function sleeper(seconds: string): Deno.ChildProcess {
  return new Deno.Command("sleep", { args: [seconds] }).spawn();
}

Deno.test("ChildLimit kills a child that takes too long, and reports that", async () => {
  const child = sleeper("60");
  using limit = new ChildLimit(child, 20);
  assertEquals((await child.status).signal, "SIGKILL");
  assertEquals(limit.isLate, true);
});

Deno.test("ChildLimit kills a child whose signal aborts, which is not late", async () => {
  const child = sleeper("60");
  const stop = new AbortController();
  using limit = new ChildLimit(child, 60_000, stop.signal);
  stop.abort();
  assertEquals((await child.status).signal, "SIGKILL");
  assertEquals(limit.isLate, false);
});

Deno.test("ChildLimit leaves a child alone that ends by itself, and nothing behind", async () => {
  const child = sleeper("0");
  const stop = new AbortController();
  {
    using limit = new ChildLimit(child, 60_000, stop.signal);
    assertEquals((await child.status).code, 0);
    assertEquals(limit.isLate, false);
  }
  stop.abort();
});
