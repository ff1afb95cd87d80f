/**
 * Does damage to clusters, and looks whether they bear it: `deno task chaos --hours=N|--minutes=N
 * [--seed=S] [--store=v2|v3|embedded] [--only=FAULT]... [--other=EXECUTABLE]`. Exit code 1 when an
 * invariant is broken.
 */
import { FAULTS } from "./faults.ts";
import { parseOptions } from "./options.ts";
import { useOtherBuild } from "./other_build.ts";
import { formatReport } from "./report.ts";
import { runChaos } from "./run.ts";

const options = parseOptions(Deno.args, FAULTS.map(({ name }) => name));
if (typeof options === "string") {
  console.error(options);
  Deno.exit(2);
}
const { minutes, seed, stores, only, other } = options;
if (other !== undefined) useOtherBuild(other);
const faults = FAULTS.filter(({ name }) => only.length === 0 || only.includes(name));
let broken = 0;
for (const store of stores) {
  const report = await runChaos({ store, seed, minutes, faults, log: console.log });
  console.log(`\n${formatReport(report, minutes)}\n`);
  broken += report.broken.length;
}
Deno.exit(broken > 0 ? 1 : 0);
