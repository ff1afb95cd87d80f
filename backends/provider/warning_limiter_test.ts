import { assertEquals } from "@std/assert";
import { WarningLimiter } from "./warning_limiter.ts";

Deno.test("WarningLimiter.warn() logs a warning when it begins, when it changes, and every ten minutes", () => {
  const said: string[] = [];
  let now = 0;
  const once = new WarningLimiter((message) => said.push(message), () => now);
  const take = () => said.splice(0);
  once.warn("a", "one");
  once.warn("b", "one");
  once.warn("a", "one");
  assertEquals(take(), ["one", "one"]);
  once.warn("a", "two");
  assertEquals(take(), ["two"]);
  now = 599_999;
  once.warn("a", "two");
  assertEquals(take(), []);
  now = 600_000;
  once.warn("a", "two");
  assertEquals(take(), ["two"]);
  once.retain((key) => key === "b");
  once.warn("a", "two");
  assertEquals(take(), ["two"]);
});
