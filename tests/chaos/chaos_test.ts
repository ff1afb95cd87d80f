/** A minute of chaos over each store, side by side. CHAOS_SEED repeats a run. */
import { assertEquals } from "@std/assert";
import { STORE_KINDS } from "./fault.ts";
import { FAULTS } from "./faults.ts";
import { formatReport } from "./report.ts";
import { runChaos } from "./run.ts";

const MINUTES = 1;
const HOSTS = 4;

const seed = Number(Deno.env.get("CHAOS_SEED") ?? Math.floor(Math.random() * 0x7fffffff));

for (const [i, store] of STORE_KINDS.entries()) {
  // With another backend each.
  const own = seed + i;
  Deno.test(`a cluster on ${store} bears what its store, network, hosts and neighbours do`, async () => {
    const lines: string[] = [];
    const report = await runChaos({
      ...{ store, seed: own, minutes: MINUTES, hosts: HOSTS, isLong: false, faults: FAULTS },
      log: (line) => lines.push(line),
    });
    console.log(formatReport(report, MINUTES));
    assertEquals(report.broken, [], lines.join("\n"));
  });
}
