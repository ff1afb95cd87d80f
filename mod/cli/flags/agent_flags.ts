import type { AgentOptions } from "../../agent/core/options.ts";
import type { LogFormat } from "../../observe/log/log.ts";
import { agentOptions, idleOptions } from "./agent_options.ts";
import { type Environment, resolveSettings, usageErrorOf } from "./environment.ts";
import { UsageError } from "../errors.ts";
import {
  type FlagKind,
  FlagSyntaxError,
  type GivenFlag,
  type ParsedFlags,
  parseFlags,
  quote,
} from "./flag_syntax.ts";
import { flagNamed } from "./flags.ts";

/** Everything the agent is started with. */
export interface AgentCommand {
  readonly options: AgentOptions;
  readonly log: {
    readonly format: LogFormat | "auto";
    readonly verbosity: number;
  };
  /** Lines for the log: none of them keeps the agent from running. */
  readonly warnings: readonly string[];
}

/**
 * Reads the agent's flags.
 *
 * @param more flags besides the agent's own
 * @param subcommand whose help text lists those
 * @param helps what that says of each
 * @throws {UsageError} when a word is none
 */
export function parseAgentFlags(
  args: readonly string[],
  more: Readonly<Record<string, FlagKind>> = {},
  subcommand = "",
  helps: Readonly<Record<string, string>> = {},
): ParsedFlags {
  try {
    return parseFlags(args, (name) => {
      // Go's package knows -h without being told.
      if (name === "h") return "bool";
      return Object.hasOwn(more, name) ? more[name] : flagNamed(name)?.kind;
    });
  } catch (error) {
    if (!(error instanceof FlagSyntaxError)) throw error;
    throw usageErrorOf(error, "", { more: Object.keys(more), subcommand, helps });
  }
}

/**
 * What the flags and the environment ask of the agent.
 *
 * @throws {UsageError} at the first value that cannot be used
 */
export function agentCommand(flags: readonly GivenFlag[], environment: Environment): AgentCommand {
  const { settings, warnings } = resolveSettings(flags, environment);
  const options = agentOptions(settings);
  return {
    options,
    log: {
      format: settings.text("log-format") as LogFormat | "auto",
      verbosity: settings.int("v"),
    },
    warnings: [...warnings, ...idleOptions(options)],
  };
}

/** The error of a word that is no flag. */
export function unexpected(
  word: string,
  before: GivenFlag | undefined,
  otherwise = "A subcommand comes first, before any flag; see flanneld -help.",
): UsageError {
  const boolean = before !== undefined && flagNamed(before.name)?.kind === "bool";
  const hint = boolean && /^(?:true|false|0|1)$/i.test(word)
    ? `-${before.name} takes no word after it: write -${before.name}=${word.toLowerCase()}.`
    : otherwise;
  return new UsageError(`unexpected argument ${quote(word)} after the flags`, { hint });
}
