import { findProblem, findProblemAtRest } from "./invariants.ts";
import { ProcessGlobals } from "./process.ts";
import { configOf, type Scenario } from "./scenario.ts";
import { World } from "./world.ts";

/** A schedule that breaks an invariant. */
export interface Violation {
  readonly schedule: readonly string[];
  readonly problem: string;
}

/** Result of an exploration. */
export interface Exploration {
  readonly states: number;
  readonly transitions: number;
  /** Schedules that were run from their start. */
  readonly runs: number;
  /** Longest schedule. */
  readonly depth: number;
  /** False when a limit ended it before all was seen. */
  readonly isComplete: boolean;
  readonly milliseconds: number;
  /** One of each kind, shortened until no action can be left out. */
  readonly violations: readonly Violation[];
}

/** Limits of {@linkcode explore}. */
export interface ExploreLimits {
  /** Actions in a schedule, at most. @default 100 */
  readonly depth?: number;
  /** Milliseconds, at most. @default no limit */
  readonly milliseconds?: number;
}

/**
 * Explores all interleavings of a scenario, depth first. Skips a state whose digest was seen before.
 * The real code cannot be forked, so that a branch is replayed from the start of its schedule.
 * At the end of each branch the world comes to rest and is checked again.
 */
export async function explore(
  scenario: Scenario,
  { depth = 100, milliseconds = Infinity }: ExploreLimits = {},
): Promise<Exploration> {
  const config = await configOf(scenario);
  using globals = new ProcessGlobals();
  const started = Date.now();
  /** Disturbances that were left in the state, at most. */
  const seen = new Map<number, number>();
  const rested = new Set<number>();
  const branches: string[][] = [[]];
  const violations = new Map<string, Violation>();
  let [transitions, runs, longest, isComplete] = [0, 0, 0, true];

  const found = (schedule: readonly string[], problem: string) => {
    const kind = kindOf(problem);
    const known = violations.get(kind);
    if (known === undefined || known.schedule.length > schedule.length) {
      violations.set(kind, { schedule: [...schedule], problem });
    }
  };

  for (let branch = branches.pop(); branch !== undefined; branch = branches.pop()) {
    if (Date.now() - started > milliseconds) {
      isComplete = false;
      break;
    }
    runs++;
    const world = await World.create(scenario, config, globals);
    const schedule: string[] = [];
    let [digest, isBroken] = [0, false];
    const step = async (action: string) => {
      await world.act(action);
      schedule.push(action);
      if (!world.hasPicked || action.includes("#")) return;
      for (let pick = 1; pick < scenario.subnets; pick++) {
        if (schedule.length >= branch.length) {
          branches.push([...schedule.slice(0, -1), `${action}#${pick}`]);
        }
      }
    };
    for (const action of branch) await step(action);
    for (;;) {
      const problem = findProblem(world);
      if (problem !== undefined) {
        found(schedule, problem);
        isBroken = true;
        break;
      }
      digest = hash(world.digest());
      const left = scenario.disturbances - world.disturbed;
      if ((seen.get(digest) ?? -1) >= left) break;
      seen.set(digest, left);
      longest = Math.max(longest, schedule.length);
      const [next, ...others] = world.actions();
      if (next === undefined) break;
      if (schedule.length === depth) {
        isComplete = false;
        break;
      }
      transitions += 1 + others.length;
      for (const other of others.reverse()) branches.push([...schedule, other]);
      await step(next);
    }
    if (isBroken || rested.has(digest)) continue;
    rested.add(digest);
    const problem = await rest(world);
    if (problem !== undefined) found(schedule, problem);
  }
  const shortened = [];
  for (const violation of violations.values()) {
    shortened.push(
      await shorten(violation, (schedule) => run(scenario, config, globals, schedule)),
    );
  }
  return {
    ...{ states: seen.size, transitions, runs, depth: longest, isComplete },
    milliseconds: Date.now() - started,
    violations: shortened,
  };
}

/** Runs one schedule. @returns what is wrong at its end, or once everything has come to rest */
export async function replay(
  scenario: Scenario,
  schedule: readonly string[],
): Promise<string | undefined> {
  const config = await configOf(scenario);
  using globals = new ProcessGlobals();
  const result = await run(scenario, config, globals, schedule);
  if (result === null) throw new Error(`the schedule is not possible: ${schedule.join(", ")}`);
  return result;
}

/** @returns `null` when the schedule is not possible */
async function run(
  scenario: Scenario,
  config: Awaited<ReturnType<typeof configOf>>,
  globals: ProcessGlobals,
  schedule: readonly string[],
): Promise<string | undefined | null> {
  const world = await World.create(scenario, config, globals);
  for (const action of schedule) {
    if (!world.actions().includes(action.split("#")[0]!)) return null;
    await world.act(action);
    const problem = findProblem(world);
    if (problem !== undefined) return problem;
  }
  return await rest(world);
}

async function rest(world: World): Promise<string | undefined> {
  return await world.comeToRest() ? findProblemAtRest(world) : "it does not come to rest";
}

/** Leaves actions out for as long as the same goes wrong without them. */
async function shorten(
  violation: Violation,
  attempt: (schedule: readonly string[]) => Promise<string | undefined | null>,
): Promise<Violation> {
  let best = violation;
  for (let size = 4; size >= 1;) {
    let isShorter = false;
    for (let at = best.schedule.length - size; at >= 0; at--) {
      const schedule = best.schedule.toSpliced(at, size);
      const problem = await attempt(schedule);
      if (problem == null || kindOf(problem) !== kindOf(violation.problem)) continue;
      best = { schedule, problem };
      isShorter = true;
    }
    if (!isShorter) size--;
  }
  return best;
}

/** A problem without the names of whom it meets. */
function kindOf(problem: string): string {
  return problem.replaceAll(/\b[A-C]\b/g, "X").replaceAll(/10\.20\.\d+\.0/g, "S");
}

/**
 * 53 bits of two FNV-1a hashes (RFC 9923) with different bases: of a million states any two collide with
 * a probability of 1 in 18,000.
 */
function hash(text: string): number {
  let [high, low] = [0x811c9dc5, 0x2166136c];
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    high = Math.imul(high ^ code, 0x01000193);
    low = Math.imul(low ^ code ^ (i & 0xff), 0x01000193);
  }
  return (high >>> 11) * 2 ** 32 + (low >>> 0);
}
