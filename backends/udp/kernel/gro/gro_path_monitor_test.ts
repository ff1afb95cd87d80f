import { assertEquals } from "@std/assert";
import { FIRST_PAUSE_MS, MAX_PAUSE_MS, nextPause } from "./gro_path_monitor.ts";

Deno.test("nextPause() doubles up to an hour, and starts again after a path that was open for an hour", () => {
  const pauses = [FIRST_PAUSE_MS];
  while (pauses.length < 10) pauses.push(nextPause(pauses.at(-1)!, 10_000));
  assertEquals(
    pauses.map((pause) => pause / 1000),
    [30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600],
  );
  assertEquals(nextPause(MAX_PAUSE_MS, MAX_PAUSE_MS), FIRST_PAUSE_MS);
});
