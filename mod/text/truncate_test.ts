import { assertEquals } from "@std/assert";
import { truncate } from "./truncate.ts";

Deno.test("truncate() keeps what fits, and ends the rest with dots", () => {
  assertEquals(truncate("12345", 5), "12345");
  assertEquals(truncate("123456", 5), "12...");
});
