import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import type { NetworkReport, PeerReport } from "../agent/status/status.ts";
import {
  bits,
  bytes,
  duration,
  foremost,
  links,
  loss,
  milliseconds,
  pairs,
  percent,
  rate,
} from "./rates.js";

const counts = (sentBytes: number, receivedBytes: number) => ({
  ...{ sentPackets: 0, receivedPackets: 0, sentBytes, receivedBytes },
});

function peer(n: number, change: Partial<PeerReport> = {}): PeerReport {
  return {
    ...{ subnet: `10.0.${n}.0/24`, publicIP: `192.0.2.${n}`, backend: "udp", refused: null },
    ...{ path: null, hostname: null, version: null, traffic: null, roundTrip: null },
    ...change,
  };
}

const echo = (lastMs: number | null, sent: number, lost: number) => ({
  ...{ lastMs, bestMs: lastMs, sent, lost, time: "2026-01-01T00:00:00Z" },
});

const network = (list: PeerReport[]) => ({ peers: { list } }) as unknown as NetworkReport;

Deno.test("rate() is bytes per second, and null without counters or after a reset", () => {
  assertEquals(rate(counts(100, 0), counts(300, 50), 2), { sent: 100, received: 25 });
  assertEquals(rate(counts(300, 0), counts(100, 50), 2), null);
  assertEquals(rate(undefined, counts(1, 1), 2), null);
  assertEquals(rate(counts(1, 1), null, 2), null);
  assertEquals(rate(counts(1, 1), counts(1, 1), 0), null);
});

Deno.test("links() compares peers by subnet, and returns their state", () => {
  const before = network([peer(1, { traffic: counts(0, 0) }), peer(9, { traffic: counts(7, 7) })]);
  const [one, two, three, four] = links(
    network([
      peer(1, { traffic: counts(1000, 500), roundTrip: echo(0.5, 10, 1) }),
      peer(2, { traffic: counts(5, 5), roundTrip: echo(null, 4, 4) }),
      peer(3, { refused: "overlaps" }),
      peer(4),
    ]),
    before,
    1,
  );
  assertEquals([one!.rate, one!.state, one!.loss], [{ sent: 1000, received: 500 }, "good", 0.1]);
  assertEquals([two!.rate, two!.state, two!.loss], [null, "lost", 1]);
  assertEquals([three!.state, four!.state, four!.loss], ["refused", "unknown", null]);
});

Deno.test("foremost() selects faulty links, then the busiest", () => {
  const list = links(
    network([
      peer(1, { traffic: counts(10, 0) }),
      peer(2, { traffic: counts(99, 0) }),
      peer(3, { refused: "overlaps" }),
      peer(4, { roundTrip: echo(null, 1, 1) }),
    ]),
    network([peer(1, { traffic: counts(0, 0) }), peer(2, { traffic: counts(0, 0) })]),
    1,
  );
  const subnets = foremost(list, 3).map(({ subnet }: PeerReport) => subnet);
  assertEquals(subnets, ["10.0.3.0/24", "10.0.4.0/24", "10.0.2.0/24"]);
});

Deno.test("pairs() joins networks by name", () => {
  const [a, b] = [{ name: "a" }, { name: "b" }];
  assertEquals(pairs({ networks: [a, b] }, { networks: [b] }), [[a, undefined], [b, b]]);
  assertEquals(pairs({ networks: [a] }, undefined), [[a, undefined]]);
});

Deno.test("bits(), bytes(), milliseconds() and percent() show three digits", () => {
  assertEquals(bits(null), "–");
  assertEquals([0, 1, 125, 154_000, 1.25e9].map(bits), [
    ...["0 bit/s", "8 bit/s", "1 kbit/s", "1.23 Mbit/s", "10 Gbit/s"],
  ]);
  assertEquals([999, 1500, 2e15].map(bytes), ["999 B", "1.5 kB", "2000 TB"]);
  assertEquals(milliseconds(echo(0.4217, 1, 0)), "0.42 ms");
  assertEquals([milliseconds(null), milliseconds(echo(null, 1, 1))], ["not probed", "no answer"]);
  assertEquals([percent(null), percent(0), percent(1 / 3)], ["–", "0 %", "33.3 %"]);
  assertEquals([loss(null), loss(echo(1, 0, 0))], [null, null]);
});

Deno.test("duration() has two units at most, the larger first", () => {
  const of = [0, 59, 60, 3600, 3661, 90_000, 86_400 + 59].map(duration);
  assertEquals(of, ["0 s", "59 s", "1 min", "1 h", "1 h 1 min", "1 d 1 h", "1 d"]);
  fc.assert(
    fc.property(fc.nat(1e8), (seconds) => assert(duration(seconds).split(" ").length <= 4)),
  );
});
