import { assertEquals } from "@std/assert";
import { SegmentBatches } from "./segment_batches.ts";

/** Batches as [address, offset, length, segment]. */
function list(batches: SegmentBatches): number[][] {
  return Array.from({ length: batches.count }, (_, i) => [
    ...[batches.address[i]!, batches.offset[i]!],
    ...[batches.length[i]!, batches.segment[i]!],
  ]);
}

Deno.test("appendPacket() forms one batch of packets of one length, the last of which may be shorter", () => {
  const batches = new SegmentBatches(8);
  for (const [offset, length] of [[0, 100], [100, 100], [200, 60]]) {
    batches.appendPacket(7, 1, offset!, length!, 64);
  }
  assertEquals(list(batches), [[7, 0, 260, 100]]);
  assertEquals(batches.packets(0), 3);
  batches.appendPacket(7, 1, 260, 60, 64);
  assertEquals(list(batches), [[7, 0, 260, 100], [7, 260, 60, 60]], "a short one ends the batch");
});

Deno.test("appendPacket() begins a batch for another peer, a longer packet, or a gap", () => {
  const cases: [string, number, number, number][] = [
    ["another peer", 8, 100, 100],
    ["a longer packet", 7, 100, 101],
    ["a gap", 7, 101, 100],
  ];
  for (const [what, address, offset, length] of cases) {
    const batches = new SegmentBatches(8);
    batches.appendPacket(7, 1, 0, 100, 64);
    batches.appendPacket(address, 1, offset, length, 64);
    assertEquals(batches.count, 2, what);
  }
});

Deno.test("appendPacket() stays within the kernel's limits of segments and bytes", () => {
  const batches = new SegmentBatches(8);
  for (let i = 0; i < 70; i++) batches.appendPacket(7, 1, i * 50, 50, 64);
  assertEquals([batches.packets(0), batches.packets(1)], [64, 6]);
  batches.clear();
  for (let i = 0; i < 50; i++) batches.appendPacket(7, 1, i * 1472, 1472, 64);
  assertEquals(list(batches), [[7, 0, 44 * 1472, 1472], [7, 44 * 1472, 6 * 1472, 1472]]);
});
