/** Fuzzes the parsers: `deno task fuzz --minutes=N [--target=NAME] [--seed=S]`. Exit code 1 on a finding. */
import { parseArguments } from "./arguments.ts";
import type { Finding } from "./driver.ts";
import { FuzzSession } from "./session.ts";
import { TARGETS } from "./targets.ts";

/** How long a target runs before it is the next one's turn, in milliseconds. */
const TURN_MS = 10_000;

const options = parseArguments(Deno.args, TARGETS);
if (typeof options === "string") {
  console.error(options);
  Deno.exit(2);
}
const { minutes, seed, targets } = options;
if (Deno.uid() !== 0 && targets.some(({ needsRoot }) => needsRoot)) {
  const rest = targets.filter(({ needsRoot }) => needsRoot).map(({ name }) => name);
  console.error(`fuzz: ${rest.join(", ")} need root: run as root, or choose others with --target`);
  Deno.exit(2);
}

console.log(`fuzz: seed ${seed}, ${targets.length} targets, ${minutes} minutes`);
const executions = new Map(targets.map(({ name }) => [name, 0]));
const found = new Set<string>();
const end = performance.now() + minutes * 60_000;
const turn = Math.min(TURN_MS, minutes * 60_000 / targets.length);
{
  using session = new FuzzSession();
  for (let round = 0; performance.now() < end; round++) {
    for (const { name } of targets) {
      const left = end - performance.now();
      if (left <= 0) continue;
      const outcome = await session.run(name, seed + round, Math.min(turn, left));
      executions.set(name, executions.get(name)! + outcome.executions);
      if (outcome.finding !== undefined) report(outcome.finding);
    }
    // Progress in case the runtime itself crashes.
    console.log(`round ${round + 1}: ${total()} executions, ${found.size} findings so far`);
  }
}

function total(): number {
  return [...executions.values()].reduce((sum, count) => sum + count, 0);
}

/** Prints a finding, once for each place that it comes from. */
function report({ target, message, literal, seed }: Finding): void {
  const place = `${target} ${message.split("\n    at ").slice(1, 3).join()}`;
  if (found.has(place)) return;
  found.add(place);
  console.log(`\nFINDING ${target} (--target=${target} --seed=${seed})\n${message}\n${literal}\n`);
}

for (const [name, count] of executions) {
  console.log(`${name.padEnd(24)} ${String(count).padStart(12)} executions`);
}
console.log(`fuzz: ${total()} executions, ${found.size} findings, seed ${seed}`);
Deno.exit(found.size > 0 ? 1 : 0);
