/**
 * A minute of chaos over each store, from one seed always: `deno task chaos` takes another each time, and
 * repeats a run that failed here.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { STORE_KINDS } from "./fault.ts";
import { FAULTS } from "./faults.ts";
import { formatReport } from "./report.ts";
import { runChaos } from "./run.ts";

const MINUTES = 1;

/** Chosen for schedules that have most kinds of faults in them. */
const SEED = 1;

for (const [i, store] of STORE_KINDS.entries()) {
  // With another backend each.
  const seed = SEED + i;
  Deno.test(`a cluster on ${store} bears what its store, network, hosts and neighbours do`, async () => {
    const lines: string[] = [];
    const report = await runChaos({
      ...{ store, seed, minutes: MINUTES, faults: FAULTS },
      log: (line) => lines.push(line),
    });
    console.log(formatReport(report, MINUTES));
    assertEquals(report.broken, [], lines.join("\n"));
  });
}
