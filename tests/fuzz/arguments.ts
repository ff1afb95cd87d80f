import type { FuzzTarget } from "./target.ts";

/** Options of a run. */
export interface FuzzOptions {
  readonly minutes: number;
  readonly seed: number;
  readonly targets: readonly FuzzTarget<unknown>[];
}

const USAGE = "usage: deno task fuzz --minutes=N [--target=NAME]... [--seed=S]";

/** Parses the command line. @returns the options, or one line on a usage error */
export function parseArguments(
  args: readonly string[],
  all: readonly FuzzTarget<unknown>[],
): FuzzOptions | string {
  let minutes = NaN;
  let seed = Math.floor(Math.random() * 0x7fffffff);
  const targets: FuzzTarget<unknown>[] = [];
  for (const argument of args) {
    const [, name, value = ""] = /^--([a-z]+)=(.+)$/.exec(argument) ?? [];
    if (name === "minutes" && Number(value) > 0) minutes = Number(value);
    else if (name === "seed" && /^\d{1,9}$/.test(value)) seed = Number(value);
    else if (name === "target") {
      const target = all.find((one) => one.name === value);
      if (target === undefined) {
        return `fuzz: no target ${value}; there are ${all.map((one) => one.name).join(", ")}`;
      }
      targets.push(target);
    } else return `fuzz: cannot use ${argument}; ${USAGE}`;
  }
  if (Number.isNaN(minutes)) return `fuzz: --minutes is missing; ${USAGE}`;
  return { minutes, seed, targets: targets.length > 0 ? targets : all };
}
