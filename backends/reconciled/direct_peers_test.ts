import { assertEquals } from "@std/assert";
import { DirectPeers } from "./direct_peers.ts";

Deno.test("DirectPeers looks each address up once a minute, and forgets those that nobody asks for", () => {
  let now = 0;
  const asked: number[] = [];
  const peers = new DirectPeers((address) => {
    asked.push(address);
    return address % 2 === 1;
  }, () => now);
  const ask = () => [1, 2].map((address) => peers.has(address));
  assertEquals([ask(), ask(), asked], [[true, false], [true, false], [1, 2]]);
  now += 59_999;
  assertEquals([peers.has(3), ask(), asked.length], [true, [true, false], 3]);
  now += 1;
  assertEquals([ask(), asked], [[true, false], [1, 2, 3, 1, 2]]);
  assertEquals(peers.size, 3);
  now += 60_000;
  assertEquals([peers.has(2), peers.size], [false, 1]);
  peers.clear();
  assertEquals([peers.has(2), asked.length], [false, 7]);
});
