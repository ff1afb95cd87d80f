/**
 * Explores the lease protocol further than the tests do.
 *
 * Usage: `deno task model [--more=N] [--depth=N] [--seconds=N] [--only=TEXT]`
 *
 * - `--more`: disturbances in a schedule besides those of the tests (default 1)
 * - `--depth`: most actions in a schedule (default 100)
 * - `--seconds`: limit of each scenario (default 60)
 * - `--only`: scenarios whose name contains the text
 *
 * @module
 */
import { explore } from "./explore.ts";
import { scenarios } from "./scenarios.ts";

function option(name: string): string | undefined {
  return Deno.args.find((arg) => arg.startsWith(`--${name}=`))?.slice(name.length + 3);
}

if (import.meta.main) {
  const limits = {
    depth: Number(option("depth") ?? 100),
    milliseconds: Number(option("seconds") ?? 60) * 1_000,
  };
  let violated = 0;
  for (const scenario of scenarios(true, Number(option("more") ?? 1))) {
    if (!scenario.name.includes(option("only") ?? "")) continue;
    const found = await explore(scenario, limits);
    const { states, transitions, runs, depth, isComplete, milliseconds, violations } = found;
    console.log(
      `${scenario.name}, ${scenario.disturbances} disturbances: ${states} states, ` +
        `${transitions} transitions, ${runs} runs, depth ${depth}, ` +
        `${(milliseconds / 1000).toFixed(1)} s${isComplete ? "" : ", not complete"}`,
    );
    for (const { problem, schedule } of violations) {
      violated++;
      console.log(`  ${problem}\n    ${schedule.join(", ")}`);
    }
  }
  if (violated > 0) Deno.exit(1);
}
