import type { FlagKind, FlagValue } from "./flag_syntax.ts";

/** Headings of the help text, in its order. */
export const FLAG_GROUPS = [
  "store",
  "etcd",
  "client and server",
  "interface",
  "lease and files",
  "several networks",
  "firewall",
  "udp backend",
  "vxlan backend",
  "health",
  "logging",
  "general",
  "not there yet",
] as const;

/** A heading of the help text. */
export type FlagGroup = typeof FLAG_GROUPS[number];

/** Definition of a flag, for parsing, help and completion. */
export interface FlagDefinition {
  /** Without a dash. */
  readonly name: string;
  readonly kind: FlagKind;
  readonly default: FlagValue;
  readonly group: FlagGroup;
  /** Placeholder of the value in the help text; booleans have none. */
  readonly placeholder?: string;
  readonly help: string;
  /** May be given several times, and keeps all values. */
  readonly repeatable?: true;
  /** All values that a string may have. */
  readonly choices?: readonly string[];
  /** Least and greatest value of an integer, both inclusive. */
  readonly range?: readonly [number, number];
  /** Unit of an integer, for messages. */
  readonly unit?: string;
  /** Set for a flag that is accepted without effect, for old command lines: the reason, for the log. */
  readonly noEffect?: string;
  /** Set for a flag that is refused: the feature that this program does not have yet. */
  readonly missing?: string;
  /** The value is or may hold a secret: the agent does not publish it. */
  readonly secret?: true;
}

/**
 * Name of the environment variable behind a flag: `FLANNELD_` and the name in upper case, `-`
 * written `_`.
 */
export function environmentName(flag: string): string {
  return "FLANNELD_" + flag.toUpperCase().replaceAll("-", "_");
}

/** Describes the values of a flag: `expected a whole number of minutes from 1 to 1439`. */
export function expectation(flag: FlagDefinition): string {
  if (flag.kind === "bool") return "expected true or false";
  if (flag.kind === "int") {
    const unit = flag.unit === undefined ? "" : ` of ${flag.unit}`;
    const range = flag.range === undefined ? "" : ` from ${flag.range[0]} to ${flag.range[1]}`;
    return `expected a whole number${unit}${range}`;
  }
  return flag.choices === undefined
    ? `expected ${flag.placeholder}`
    : `expected ${flag.choices.join(" or ")}`;
}

/** The flags of a subcommand. */
export interface SubcommandFlags {
  /** Its own flags. */
  readonly own: readonly {
    readonly name: string;
    readonly kind: FlagKind;
    readonly help: string;
  }[];
  /** Its name, for messages. */
  readonly subcommand: string;
  /** False for one that takes its own flags alone. */
  readonly agentFlags: boolean;
}
