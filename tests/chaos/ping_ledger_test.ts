import { assertEquals } from "@std/assert";
import { PingLedger, REPLY_TIMEOUT_MS } from "./ping_ledger.ts";

/** A ledger of two hosts that are unaffected. */
function ledger(): PingLedger {
  const ledger = new PingLedger();
  for (const host of [0, 1]) ledger.setUnaffected(host, true);
  return ledger;
}

Deno.test("PingLedger loses pings without a reply, and no others", () => {
  const pings = ledger();
  const answered = pings.send(0, 1, 0);
  pings.send(0, 1, 10);
  pings.send(1, 0, 20);
  pings.answer(0, answered, 30);
  pings.expire(10 + REPLY_TIMEOUT_MS);
  const { sent, losses, slowestMs } = pings.report(10 + REPLY_TIMEOUT_MS, []);
  assertEquals([sent, slowestMs], [3, 30]);
  assertEquals(losses, [
    { from: 0, to: 1, count: 1, firstMs: 10, lastMs: 10, reason: "no reply" },
  ]);
  assertEquals(pings.report(10 + REPLY_TIMEOUT_MS, []).losses, []);
});

Deno.test("PingLedger counts no ping of a host that is affected, or was while the ping was under way", () => {
  const pings = ledger();
  pings.send(0, 1, 0);
  pings.setUnaffected(1, false);
  pings.send(1, 0, 10);
  pings.setUnaffected(1, true);
  pings.expire(2 * REPLY_TIMEOUT_MS);
  const { sent, uncounted, losses } = pings.report(0, []);
  assertEquals([sent, uncounted, losses], [0, 2, []]);
});

Deno.test("PingLedger loses a ping that the kernel refuses, with the reason", () => {
  const pings = ledger();
  pings.refuse(0, pings.send(0, 1, 0), "sendto: Network is unreachable");
  assertEquals(pings.report(0, []).losses.map(({ reason }) => reason), [
    "sendto: Network is unreachable",
  ]);
});

Deno.test("PingLedger.report() names pairs that have heard nothing for half a second", () => {
  const pings = ledger();
  pings.answer(0, pings.send(0, 1, 0), 1);
  assertEquals(pings.report(100, ["0 to 1", "1 to 0"]).silent, ["1 to 0"]);
  assertEquals(pings.report(1_000, ["0 to 1", "1 to 0"]).silent, ["0 to 1", "1 to 0"]);
});
