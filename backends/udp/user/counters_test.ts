import { assertEquals } from "@std/assert";
import { Counter, COUNTERS, Counters, WorkerCounters } from "./counters.ts";

Deno.test("Counters adds up the workers' counts", () => {
  const memories = [WorkerCounters.allocate(10), WorkerCounters.allocate(10)];
  const [a, b] = memories.map((memory) => new WorkerCounters(memory));
  const counters = new Counters(memories);
  a!.sent(1, 3, 300);
  b!.sent(1, 1, 50);
  b!.received(10, 2, 2 ** 40);
  a!.values[Counter.dropReceiveSpoofed]! += 7;
  const totals = counters.totals();
  assertEquals(totals.sentPackets, 4);
  assertEquals(totals.sentBytes, 350);
  assertEquals(totals.receivedBytes, 2 ** 40);
  assertEquals(totals.dropReceiveSpoofed, 7);
  assertEquals(Object.keys(totals), [...COUNTERS]);
  assertEquals(counters.peer({ publicIP: 1, index: 1 }), {
    sentPackets: 4,
    sentBytes: 350,
    receivedPackets: 0,
    receivedBytes: 0,
  });
  assertEquals(counters.peer({ publicIP: 2, index: 10 }).receivedPackets, 2);
});

Deno.test("begin() starts at zero for a new peer at a used index, and continues for the same peer", () => {
  const memory = WorkerCounters.allocate(4);
  const worker = new WorkerCounters(memory);
  const counters = new Counters([memory]);
  const [old, young] = [{ publicIP: 1, index: 3 }, { publicIP: 2, index: 3 }];
  counters.begin(old);
  worker.sent(3, 5, 500);
  counters.begin(old);
  assertEquals(counters.peer(old).sentPackets, 5);
  counters.begin(young);
  assertEquals(counters.peer(young).sentPackets, 0);
  worker.received(3, 1, 10);
  assertEquals(counters.peer(young).receivedBytes, 10);
});
