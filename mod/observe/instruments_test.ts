import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { Histogram, Tally } from "./instruments.ts";

Deno.test("Tally counts by name", () => {
  const tally = new Tally();
  assertEquals([tally.of("a"), tally.total], [0, 0]);
  tally.add("b");
  tally.add("a", 2);
  tally.add("b");
  assertEquals([...tally.entries()], [["b", 2], ["a", 2]]);
  assertEquals(tally.total, 4);
});

Deno.test("Histogram counts each value in the first bucket that holds it", () => {
  const histogram = new Histogram([1, 10]);
  for (const value of [0.5, 1, 1.5, 10, 11]) histogram.observe(value);
  assertEquals(histogram.cumulative(), [2, 4, 5]);
  assertEquals([histogram.sum, histogram.count], [24, 5]);
});

Deno.test("Histogram agrees with counting by hand", () => {
  const numbers = fc.array(fc.integer({ min: -50, max: 50 }));
  fc.assert(
    fc.property(numbers, fc.uniqueArray(fc.integer({ min: -40, max: 40 })), (values, set) => {
      const bounds = set.toSorted((a, b) => a - b);
      const histogram = new Histogram(bounds);
      for (const value of values) histogram.observe(value);
      assertEquals(
        histogram.cumulative(),
        [...bounds, Infinity].map((bound) => values.filter((value) => value <= bound).length),
      );
    }),
  );
});

Deno.test("Histogram refuses bounds that do not rise", () => {
  for (const bounds of [[1, 1], [2, 1], [NaN], [1, Infinity]]) {
    assertThrows(() => new Histogram(bounds), RangeError);
  }
});
