import { assertEquals } from "@std/assert";
import { counted } from "./counted.ts";

Deno.test("counted() has the singular for one alone", () => {
  const counts = [0, 1, 2, 255].map((count) => counted(count, "other host"));
  assertEquals(counts, ["0 other hosts", "1 other host", "2 other hosts", "255 other hosts"]);
});
