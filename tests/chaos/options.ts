import { STORE_KINDS, type StoreKind } from "./fault.ts";

/** Options of a run. */
export interface ChaosOptions {
  readonly minutes: number;
  readonly seed: number;
  readonly stores: readonly StoreKind[];
  /** Faults by name; all when empty. */
  readonly only: readonly string[];
  /** Path of another build for upgrades and downgrades. @default this one with another version string */
  readonly other?: string;
}

const USAGE = "usage: deno task chaos --hours=N|--minutes=N [--seed=S] [--store=v2|v3|embedded] " +
  "[--only=FAULT]... [--other=EXECUTABLE]";

/** Parses the command line. @returns the options, or one line on a usage error */
export function parseOptions(
  args: readonly string[],
  faults: readonly string[],
): ChaosOptions | string {
  let minutes = NaN;
  let seed = Math.floor(Math.random() * 0x7fffffff);
  let other: string | undefined;
  const stores: StoreKind[] = [];
  const only: string[] = [];
  for (const argument of args) {
    const [, name, value = ""] = /^--([a-z]+)=(.+)$/.exec(argument) ?? [];
    const store = STORE_KINDS.find((kind) => kind === value);
    if ((name === "minutes" || name === "hours") && Number(value) > 0) {
      minutes = Number(value) * (name === "hours" ? 60 : 1);
    } else if (name === "seed" && /^\d{1,10}$/.test(value)) seed = Number(value);
    else if (name === "store" && store !== undefined) stores.push(store);
    else if (name === "other") other = value;
    else if (name === "only") {
      if (!faults.includes(value)) {
        return `chaos: no fault ${value}; there are ${faults.join(", ")}`;
      }
      only.push(value);
    } else return `chaos: cannot use ${argument}; ${USAGE}`;
  }
  if (Number.isNaN(minutes)) return `chaos: --minutes or --hours is missing; ${USAGE}`;
  return {
    ...{ minutes, seed, only },
    stores: stores.length > 0 ? stores : STORE_KINDS,
    ...(other === undefined ? {} : { other }),
  };
}
