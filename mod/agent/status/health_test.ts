import { assertEquals } from "@std/assert";
import { findings, type HealthFacts } from "./health.ts";

const NOW = 10_000_000;
const WELL: HealthFacts = {
  handling: undefined,
  watch: { since: 0, error: undefined },
  lease: { subnet: "10.20.93.0/24", renewal: NOW + 1, expiry: NOW + 3_600_000 },
  stopped: undefined,
};

/** Returns the findings with one changed fact. */
function found(facts: Partial<HealthFacts>): string[] {
  return findings({ ...WELL, ...facts }, { watch: 120_000 }, NOW)
    .map(({ blame, reason }) => `${blame}: ${reason}`);
}

Deno.test("findings() returns nothing for an agent that works, or waits at its start", () => {
  assertEquals(found({}), []);
  assertEquals(found({ watch: undefined, lease: undefined }), []);
  assertEquals(found({ lease: { subnet: "10.20.93.0/24" } }), []);
});

Deno.test("findings() reports each way of being stuck after its time limit", () => {
  assertEquals(found({ handling: { what: "renew", since: NOW - 120_000 } }), []);
  assertEquals(found({ handling: { what: "renew", since: NOW - 121_000 } }), [
    "agent: event loop: it has been at one event (renew) for 121 s",
  ]);
  assertEquals(found({ watch: { since: NOW - 120_000, error: "refused" } }), []);
  assertEquals(found({ watch: { since: NOW - 130_000, error: "refused" } }), [
    "store: watch: the store has not been followed for 130 s: refused",
  ]);
  const lease = { subnet: "10.20.93.0/24", renewal: NOW - 300_000, expiry: NOW + 3_000_000 };
  assertEquals(found({ lease }), []);
  assertEquals(found({ lease: { ...lease, renewal: NOW - 301_000 } }), [
    "store: renewal: lease 10.20.93.0/24 was to be renewed 301 s ago",
  ]);
  assertEquals(found({ lease: { ...lease, expiry: NOW - 5_000 } }), [
    "store: renewal: lease 10.20.93.0/24 ran out 5 s ago",
  ]);
  assertEquals(found({ stopped: "the udp data path has stopped: EBADF" }), [
    "agent: data path: the udp data path has stopped: EBADF",
  ]);
});

Deno.test("findings() returns all reasons", () => {
  const facts = {
    handling: { what: "watch", since: 0 },
    watch: { since: 0, error: "refused" },
    lease: { subnet: "10.20.93.0/24", renewal: 0, expiry: 0 },
    stopped: "gone",
  };
  assertEquals(found(facts).map((line) => line.split(": ")[1]), [
    "event loop",
    "data path",
    "watch",
    "renewal",
  ]);
});
