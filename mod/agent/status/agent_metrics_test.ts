import { assertEquals, assertRejects } from "@std/assert";
import { AgentMetrics, damageKind } from "./agent_metrics.ts";

/** AgentMetrics on a clock of their own. */
function metrics() {
  const clock = { now: 1000 };
  return { clock, metrics: new AgentMetrics(() => clock.now) };
}

Deno.test("AgentMetrics.handle() shows the present work until it has ended or failed", async () => {
  const { metrics: it } = metrics();
  assertEquals(it.handling, undefined);
  await it.handle("renew", () => {
    assertEquals(it.handling, { what: "renew", since: 1000 });
    return Promise.resolve();
  });
  assertEquals(it.handling, undefined);
  await assertRejects(() => it.handle("watch", () => Promise.reject(new Error("no"))), Error, "no");
  assertEquals(it.handling, undefined);
});

Deno.test("AgentMetrics.call() counts each call, and those that failed", async () => {
  const { clock, metrics: it } = metrics();
  const isFailure = (error: unknown) => error instanceof TypeError;
  await it.call("lease", isFailure, () => {
    clock.now += 100;
    return Promise.resolve();
  });
  const failing = (error: Error) => it.call("lease", isFailure, () => Promise.reject(error));
  await assertRejects(() => failing(new TypeError()), TypeError);
  await assertRejects(() => failing(new RangeError()), RangeError);
  const { durations, errors } = it.calls.get("lease")!;
  assertEquals([durations.count, durations.sum, errors], [3, 0.1, 1]);
});

Deno.test("AgentMetrics.reconcile() counts what the kernel refused", async () => {
  const { clock, metrics: it } = metrics();
  assertEquals(
    await it.reconcile("sync", () => {
      clock.now += 2000;
      return Promise.resolve(3);
    }),
    3,
  );
  assertEquals([it.reconciliations.sync.sum, it.refusedObjects], [2, 3]);
  assertEquals(it.reconciliations.change.count, 0);
});

Deno.test("AgentMetrics.watching() dates the state that it is in", () => {
  const { clock, metrics: it } = metrics();
  assertEquals(it.watch, undefined);
  it.watching();
  clock.now += 500;
  it.watching(new Error("refused"));
  assertEquals(it.watch, { since: 1500, error: "refused" });
});

Deno.test("AgentMetrics.damaged() remembers the latest, and counts all", () => {
  const { metrics: it } = metrics();
  for (let i = 0; i < 30; i++) it.damaged(`route to 10.20.${i}.0/24 removed`);
  it.damaged("firewall rules were missing");
  assertEquals(it.recentRepairs.length, 20);
  assertEquals(it.recentRepairs.at(-1)!.what, "firewall rules were missing");
  assertEquals([...it.repairs.entries()], [["route", 30], ["firewall", 1]]);
});

Deno.test("damageKind() knows what backends report", () => {
  const cases = {
    "device flannel.1 removed": "device",
    "MTU of flannel.1 altered": "device",
    "MAC of flannel.1 altered": "device",
    "address of flannel.1 removed": "address",
    "route to 10.20.65.0/24 altered": "route",
    "neighbour 10.20.65.0 removed or altered": "neighbour",
    "FDB entry 02:00:00:00:00:01 removed": "fdb",
    "tx-checksum-ip-generic of flannel.1 altered": "offload",
    "kernel events were lost": "lost-events",
    "the udp data path has stopped: ENODEV": "worker",
    "map routes unpinned": "bpf",
    "eth1 came back, its routes did not": "other",
  };
  for (const [what, kind] of Object.entries(cases)) assertEquals(damageKind(what), kind, what);
});
