import type { AgentOptions } from "../../agent/core/options.ts";
import type { LogFormat } from "../../observe/log/log.ts";
import { agentOptions, idleOptions } from "./agent_options.ts";
import {
  type Environment,
  resolveSettings,
  type SettingsByName,
  usageErrorOf,
} from "./environment.ts";
import { UsageError } from "../errors.ts";
import {
  FlagSyntaxError,
  type GivenFlag,
  type ParsedFlags,
  parseFlags,
  quote,
} from "./flag_syntax.ts";
import { flagNamed } from "./flags.ts";
import type { Settings } from "./settings.ts";
import type { SubcommandFlags } from "./flag_definition.ts";

/** Command line and environment of the agent. */
export interface AgentCommand {
  readonly options: AgentOptions;
  /** The values that {@linkcode AgentCommand.options} were made of. */
  readonly settings: Settings;
  readonly log: {
    readonly format: LogFormat | "auto";
    readonly verbosity: number;
  };
  /** Lines for the log; the agent runs all the same. */
  readonly warnings: readonly string[];
}

/**
 * Reads the agent's flags, and those of a subcommand.
 *
 * @throws {UsageError} when a word is not one of them
 */
export function parseAgentFlags(
  args: readonly string[],
  { own, subcommand, agentFlags }: SubcommandFlags = { own: [], subcommand: "", agentFlags: true },
): ParsedFlags {
  try {
    return parseFlags(args, (name) => {
      // Go's package knows -h without a definition, and -help.
      if (name === "h" || name === "help") return "bool";
      const flag = own.find((one) => one.name === name);
      return flag?.kind ?? (agentFlags ? flagNamed(name)?.kind : undefined);
    });
  } catch (error) {
    if (!(error instanceof FlagSyntaxError)) throw error;
    throw usageErrorOf(error, "", { own, subcommand, agentFlags });
  }
}

/**
 * Returns the options that the flags and the environment ask of the agent.
 *
 * @param behind settings of flags that neither of them gives
 * @throws {UsageError} at the first value that cannot be used
 */
export function agentCommand(
  flags: readonly GivenFlag[],
  environment: Environment,
  behind?: SettingsByName,
): AgentCommand {
  const { settings, warnings } = resolveSettings(flags, environment, behind);
  const options = agentOptions(settings);
  return {
    options,
    settings,
    log: {
      format: settings.text("log-format") as LogFormat | "auto",
      verbosity: settings.int("v"),
    },
    warnings: [...warnings, ...idleOptions(options)],
  };
}

/** The error of a word that is not a flag. */
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
