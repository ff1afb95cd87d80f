import { cpuUsage } from "node:process";
import fc from "fast-check";
import type { FuzzTarget, Run } from "./target.ts";

/** Processor time that one input may take, in milliseconds: inputs have some KB. */
const SLOW_MS = 3_000;

/** An input that breaks an invariant. */
export interface Finding {
  readonly target: string;
  /** Reproduces it: `deno task fuzz --target=NAME --seed=SEED`. */
  readonly seed: number;
  /** The shrunk input as a literal of TypeScript. */
  readonly literal: string;
  readonly message: string;
}

/** Result of running a target. */
export interface Outcome {
  readonly executions: number;
  readonly finding?: Finding;
}

/**
 * Runs all of a target's seeds, then generated inputs until the time is over.
 *
 * @param onRun called before each input
 */
export async function fuzz<T>(
  target: FuzzTarget<T>,
  run: Run<T>,
  { seed, milliseconds, onRun = () => {} }: {
    readonly seed: number;
    readonly milliseconds: number;
    readonly onRun?: () => void;
  },
): Promise<Outcome> {
  let executions = 0;
  const execute = async (input: T) => {
    executions++;
    onRun();
    await withinTime(() => run(input));
  };
  const outcome = (input: T | undefined, error: unknown): Outcome => ({
    executions,
    finding: { target: target.name, seed, literal: literal(input), message: describe(error) },
  });
  const end = performance.now() + milliseconds;
  for (const input of target.seeds) {
    try {
      await execute(input);
    } catch (error) {
      return outcome(input, error);
    }
  }
  const details = await fc.check(fc.asyncProperty(target.inputs, execute), {
    seed,
    numRuns: 0x7fffffff,
    interruptAfterTimeLimit: Math.max(1, end - performance.now()),
    markInterruptAsFailure: false,
  });
  // Time that is over before the first input counts as a failure there, without an input.
  return details.counterexample === null
    ? { executions }
    : outcome(details.counterexample[0], details.errorInstance);
}

/** Fails for an input that takes too long twice; other work on the machine does not count. */
async function withinTime(step: () => void | Promise<void>): Promise<void> {
  const started = performance.now();
  await step();
  if (performance.now() - started < SLOW_MS) return;
  const before = cpuMs();
  await step();
  const taken = cpuMs() - before;
  if (taken > SLOW_MS) throw new Error(`takes ${Math.round(taken)} ms of processor time`);
}

function cpuMs(): number {
  const { user, system } = cpuUsage();
  return (user + system) / 1000;
}

/**
 * Generates the input of one run again, without running it.
 *
 * @param number counts from 1, seeds included
 */
export async function inputOf<T>(target: FuzzTarget<T>, seed: number, number: number): Promise<T> {
  const { seeds } = target;
  if (number <= seeds.length) return seeds[number - 1]!;
  let found: T | undefined;
  await fc.check(
    fc.asyncProperty(target.inputs, (input) => {
      found = input;
      return Promise.resolve();
    }),
    { seed, numRuns: number - seeds.length },
  );
  return found as T;
}

/** Message, and where it was thrown. */
function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const lines = (error.stack ?? "").split("\n").filter((line) => line.includes("    at "));
  const cause = error.cause instanceof Error ? ` (cause: ${error.cause.message})` : "";
  return [`${error.name}: ${error.message.slice(0, 2000)}${cause}`, ...lines.slice(0, 6)]
    .join("\n");
}

/** A value as TypeScript that makes it. */
export function literal(value: unknown): string {
  if (value instanceof Uint8Array) return `Uint8Array.of(${[...value].join(", ")})`;
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value === "object" && value !== null) {
    return `{ ${
      Object.entries(value).map(([key, member]) => `${key}: ${literal(member)}`).join(", ")
    } }`;
  }
  return JSON.stringify(value) ?? "undefined";
}
