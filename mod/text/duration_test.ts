import { assertEquals } from "@std/assert";
import { duration } from "./duration.ts";

Deno.test("duration() takes the two largest units", () => {
  const cases: [number, string][] = [
    [0, "0 s"],
    [7, "7 s"],
    [60, "1 min"],
    [302, "5 min 2 s"],
    [3600, "1 h"],
    [86400 * 3 + 3600 * 4 + 59, "3 d 4 h"],
    [59.6, "1 min"],
  ];
  for (const [seconds, text] of cases) assertEquals(duration(seconds), text);
});
