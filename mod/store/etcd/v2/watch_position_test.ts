import { assert, assertEquals, assertThrows } from "@std/assert";
import { DEFAULT_TIMING, formatCursor, WatchPosition } from "./watch_position.ts";

const CLUSTER = "48276a8f75b6a87";

function at(index: number | undefined, cluster = CLUSTER) {
  return { index, cluster };
}

function placeAt(index: number): WatchPosition {
  return new WatchPosition(
    formatCursor(at(index) as { index: number; cluster: string }),
    DEFAULT_TIMING,
  );
}

Deno.test("WatchPosition begins after its cursor and moves on with events", () => {
  const place = placeAt(7);
  assertEquals([place.next, place.cursor], [8, `${CLUSTER}@7`]);
  place.seen(12);
  assertEquals([place.next, place.cursor], [13, `${CLUSTER}@12`]);
  place.reset("other@3");
  assertEquals([place.next, place.cursor], [4, "other@3"]);
});

Deno.test("WatchPosition refuses a cursor that is not etcd v2's", () => {
  for (const cursor of ["", "12", "x@", "x@y", "@-1"]) {
    assertThrows(() => new WatchPosition(cursor, DEFAULT_TIMING), TypeError, "not a cursor");
  }
});

Deno.test("WatchPosition.idle() moves to a poll's index when the next poll stood in vain as well", () => {
  const place = placeAt(7);
  place.idle(at(100));
  assertEquals(place.next, 8);
  place.idle(at(250));
  assertEquals(place.next, 101);
  place.idle(at(400));
  assertEquals(place.next, 251);
});

Deno.test("WatchPosition.idle() counts again after an event and after headers without an index", () => {
  const place = placeAt(7);
  place.idle(at(100));
  place.seen(120);
  place.idle(at(130));
  assertEquals(place.next, 121);
  place.idle(at(undefined));
  place.idle(undefined);
  place.idle(at(200));
  assertEquals(place.next, 131);
  place.idle(at(210));
  assertEquals(place.next, 201);
});

Deno.test("WatchPosition.idle() never moves back when a member lags", () => {
  const place = placeAt(100);
  place.idle(at(50));
  place.idle(at(60));
  assertEquals(place.next, 101);
});

Deno.test("WatchPosition.isAhead() and isAnotherCluster() see a history that is not its own", () => {
  const place = placeAt(100);
  assert(!place.isAhead(at(100)));
  assert(!place.isAhead(at(5000)));
  assert(!place.isAhead(at(undefined)));
  assert(place.isAhead(at(99)));
  assert(!place.isAnotherCluster(at(1)));
  assert(!place.isAnotherCluster(at(1, "")));
  assert(place.isAnotherCluster(at(1, "beef")));
});

Deno.test("WatchPosition.observe() lets polls stand longer on a quiet cluster, shorter on a busy one", () => {
  /** Longest poll after polls of 10 s each with so many events a second. */
  const longest = (rate: number) => {
    const place = placeAt(0);
    for (let i = 0; i <= 10; i++) place.observe(at(1 + Math.round(i * 10 * rate)), i * 10_000);
    return Math.max(...Array.from({ length: 50 }, () => place.pollTime));
  };
  const near = (actual: number, expected: number) =>
    assert(actual <= expected && actual > 0.9 * expected, `${actual} for ${expected}`);
  near(placeAt(0).pollTime, 1_000);
  near(longest(0), 45_000);
  near(longest(1), 45_000);
  near(longest(10), 30_000);
  near(longest(100), 3_000);
  // No poll is short enough: as few as can be, each with a snapshot after it.
  near(longest(1_000), 45_000);
});

Deno.test("WatchPosition.observe() takes headers close together for one look", () => {
  const place = placeAt(0);
  place.observe(at(1), 0);
  for (let i = 0; i < 100; i++) place.observe(at(1 + i), i);
  assert(place.pollTime <= 1_000);
});
