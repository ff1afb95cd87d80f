import { UsageError } from "../errors.ts";
import { expectation, type FlagDefinition } from "./flag_definition.ts";
import { type FlagValue, quote } from "./flag_syntax.ts";
import { type FlagName, flagNamed, type RepeatableFlagName } from "./flags.ts";

/** Source of a value: the command line, the environment variable of that name, or the options of an agent. */
export type Origin = { readonly kind: "argv" | "agent" } | {
  readonly kind: "environment";
  readonly variable: string;
};

/** A flag that was given, and its source. */
export interface Setting {
  readonly flag: FlagDefinition;
  readonly origin: Origin;
  /** All values of a repeatable flag, else the last alone; empty only for one that an agent was not given. */
  readonly values: readonly FlagValue[];
}

/**
 * The error of a value that was read but cannot be used.
 *
 * @param shown the value without its secrets
 * @param why the reason, and the values that are right
 */
export function invalidValue(
  flag: FlagDefinition,
  origin: Origin,
  shown: string,
  why: string,
): UsageError {
  const where = sourceOf(origin);
  return new UsageError(`invalid value ${quote(shown)} for flag -${flag.name}${where}: ${why}`);
}

function sourceOf(origin: Origin): string {
  switch (origin.kind) {
    case "argv":
      return "";
    case "agent":
      return " from the agent's options";
    case "environment":
      return ` from ${origin.variable}`;
  }
}

/**
 * Checks a value against the flag's definition.
 *
 * @throws {UsageError} for an integer out of range, a word that is not a choice, or a flag whose feature is not there
 * yet. Such a flag may be `false` or empty, which asks for nothing.
 */
export function checkValue(flag: FlagDefinition, origin: Origin, value: FlagValue): void {
  if (flag.missing !== undefined && value !== false && value !== "") {
    const where = origin.kind === "argv" ? "" : ` (${sourceOf(origin).trim()})`;
    throw new UsageError(`flag -${flag.name}${where} is refused: ${flag.missing} is not there yet`);
  }
  if (typeof value === "number" && flag.range !== undefined) {
    const [least, greatest] = flag.range;
    if (value < least || value > greatest) {
      const why = `value out of range: ${expectation(flag)}`;
      throw invalidValue(flag, origin, String(value), why);
    }
  }
  if (typeof value === "string" && flag.choices !== undefined && !flag.choices.includes(value)) {
    throw invalidValue(flag, origin, value, expectation(flag));
  }
}

/** The value of every flag; the default of a flag that was not given. */
export class Settings {
  readonly #given: ReadonlyMap<string, Setting>;

  constructor(given: Iterable<Setting>) {
    this.#given = new Map(Array.from(given, (setting) => [setting.flag.name, setting]));
  }

  /** Returns the setting of a flag; `undefined` for one that was not given. */
  given(name: string): Setting | undefined {
    return this.#given.get(name);
  }

  /** Value of a boolean flag. */
  bool(name: FlagName<"bool">): boolean {
    return this.#value(name) as boolean;
  }

  /** Value of a boolean flag; `undefined` when it was not given. */
  optionalBool(name: FlagName<"bool">): boolean | undefined {
    return this.#given.get(name)?.values.at(-1) as boolean | undefined;
  }

  /** Value of an integer flag. */
  int(name: FlagName<"int">): number {
    return this.#value(name) as number;
  }

  /** Value of a string flag. */
  text(name: FlagName<"string">): string {
    return this.#value(name) as string;
  }

  /** Value of a string flag; `undefined` for an empty one. */
  optional(name: FlagName<"string">): string | undefined {
    return this.text(name) || undefined;
  }

  /** Values of a repeatable flag, empty ones left out. */
  list(name: RepeatableFlagName): string[] {
    return (this.#given.get(name)?.values ?? []).filter((value) => value !== "") as string[];
  }

  /** The error of a value that cannot be used; see {@linkcode invalidValue}. */
  invalid(name: FlagName, shown: string, why: string): UsageError {
    const origin = this.#given.get(name)?.origin ?? { kind: "argv" };
    return invalidValue(flagNamed(name)!, origin, shown, why);
  }

  #value(name: FlagName): FlagValue {
    return this.#given.get(name)?.values.at(-1) ?? flagNamed(name)!.default;
  }
}
