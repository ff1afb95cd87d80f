import { assertEquals } from "@std/assert";
import { TrainVector } from "./segment_batches.ts";

/** Trains as [address, offset, length, segment]. */
function list(trains: TrainVector): number[][] {
  return Array.from({ length: trains.count }, (_, i) => [
    ...[trains.address[i]!, trains.offset[i]!],
    ...[trains.length[i]!, trains.segment[i]!],
  ]);
}

Deno.test("couple() makes one train of packets of one length, the last possibly shorter", () => {
  const trains = new TrainVector(8);
  for (const [offset, length] of [[0, 100], [100, 100], [200, 60]]) {
    trains.couple(7, 1, offset!, length!, 64);
  }
  assertEquals(list(trains), [[7, 0, 260, 100]]);
  assertEquals(trains.packets(0), 3);
  trains.couple(7, 1, 260, 60, 64);
  assertEquals(list(trains), [[7, 0, 260, 100], [7, 260, 60, 60]], "a short one ends the train");
});

Deno.test("couple() begins a train for another peer, a longer packet, or a gap", () => {
  const cases: [string, number, number, number][] = [
    ["another peer", 8, 100, 100],
    ["a longer packet", 7, 100, 101],
    ["a gap", 7, 101, 100],
  ];
  for (const [what, address, offset, length] of cases) {
    const trains = new TrainVector(8);
    trains.couple(7, 1, 0, 100, 64);
    trains.couple(address, 1, offset, length, 64);
    assertEquals(trains.count, 2, what);
  }
});

Deno.test("couple() stays within the kernel's limits of segments and bytes", () => {
  const trains = new TrainVector(8);
  for (let i = 0; i < 70; i++) trains.couple(7, 1, i * 50, 50, 64);
  assertEquals([trains.packets(0), trains.packets(1)], [64, 6]);
  trains.clear();
  for (let i = 0; i < 50; i++) trains.couple(7, 1, i * 1472, 1472, 64);
  assertEquals(list(trains), [[7, 0, 44 * 1472, 1472], [7, 44 * 1472, 6 * 1472, 1472]]);
});
