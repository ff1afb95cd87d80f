import { assertEquals } from "@std/assert";
import { FIRST_PAUSE, LONGEST_PAUSE, nextPause } from "./gro_path_monitor.ts";

Deno.test("nextPause() doubles up to an hour, and begins anew after a hop that was of use", () => {
  const pauses = [FIRST_PAUSE];
  while (pauses.length < 10) pauses.push(nextPause(pauses.at(-1)!, 10_000));
  assertEquals(
    pauses.map((pause) => pause / 1000),
    [30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600],
  );
  assertEquals(nextPause(LONGEST_PAUSE, LONGEST_PAUSE), FIRST_PAUSE);
});
