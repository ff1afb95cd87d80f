import { assertEquals, assertThrows } from "@std/assert";
import { runAll } from "./run_all.ts";

Deno.test("runAll() continues after a step that fails, and throws the first error at the end", () => {
  const done: number[] = [];
  const failing = (message: string) => () => {
    throw new RangeError(message);
  };
  assertThrows(
    () => runAll([() => done.push(1), failing("a"), () => done.push(2), failing("b")]),
    RangeError,
    "a",
  );
  runAll([() => done.push(3)]);
  assertEquals(done, [1, 2, 3]);
});
