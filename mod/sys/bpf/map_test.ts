import { assertEquals } from "@std/assert";
import { countProcessors } from "./map.ts";

Deno.test("countProcessors() counts up to the highest number of the kernel's list", () => {
  assertEquals(countProcessors("0\n"), 1);
  assertEquals(countProcessors("0-1\n"), 2);
  assertEquals(countProcessors("0-3,8-11\n"), 12);
  assertEquals(countProcessors("0,2,4\n"), 5);
});
