import { assertEquals } from "@std/assert";
import { SaidOnce } from "./said_once.ts";

Deno.test("SaidOnce says each thing when it begins, when it changes, and every ten minutes", () => {
  const said: string[] = [];
  let now = 0;
  const once = new SaidOnce((message) => said.push(message), () => now);
  const take = () => said.splice(0);
  once.say("a", "one");
  once.say("b", "one");
  once.say("a", "one");
  assertEquals(take(), ["one", "one"]);
  once.say("a", "two");
  assertEquals(take(), ["two"]);
  now = 599_999;
  once.say("a", "two");
  assertEquals(take(), []);
  now = 600_000;
  once.say("a", "two");
  assertEquals(take(), ["two"]);
  once.retain((key) => key === "b");
  once.say("a", "two");
  assertEquals(take(), ["two"]);
});
