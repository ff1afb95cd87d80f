import type { AgentOptions } from "../agent/options.ts";
import type { LogFormat } from "../observe/log.ts";
import { agentOptions, idleOptions } from "./agent_options.ts";
import { type Environment, resolveSettings, usageErrorOf } from "./environment.ts";
import { UsageError } from "./errors.ts";
import {
  FlagSyntaxError,
  type GivenFlag,
  type ParsedFlags,
  parseFlags,
  quote,
} from "./flag_syntax.ts";
import { flagNamed } from "./flags.ts";
import type { Subcommand } from "./subcommand.ts";
import { subcommandNamed } from "./subcommands.ts";

/** What the command line asks for. */
export type CommandLine =
  | { readonly command: "agent"; readonly agent: AgentCommand }
  | { readonly command: "help" | "version" }
  | { readonly command: "subcommand"; readonly subcommand: Subcommand; readonly args: string[] };

/** Everything the agent is started with. */
export interface AgentCommand {
  readonly options: AgentOptions;
  readonly log: { readonly format: LogFormat; readonly verbosity: number };
  /** Lines for the log: none of them keeps the agent from running. */
  readonly warnings: readonly string[];
}

/**
 * Reads the command line: `flanneld [flags]` runs the agent, `flanneld <subcommand> [options]`
 * something else. `-help` and `-version` win over everything the environment says, and over
 * values that are well-formed but wrong.
 *
 * @param args the words after the program's name
 * @throws {UsageError} when it cannot be used
 */
export function parseCommandLine(args: readonly string[], environment: Environment): CommandLine {
  const first = args[0];
  if (first !== undefined && !first.startsWith("-")) {
    return { command: "subcommand", subcommand: subcommandNamed(first), args: args.slice(1) };
  }
  const { flags, rest } = parseAgentFlags(args);
  const last = new Map(flags.map(({ name, value }) => [name, value]));
  if (last.get("help") === true || last.has("h")) return { command: "help" };
  if (last.get("version") === true) return { command: "version" };
  if (rest.length > 0) throw unexpected(rest[0]!, flags.at(-1));
  const { settings, warnings } = resolveSettings(flags, environment);
  const options = agentOptions(settings);
  return {
    command: "agent",
    agent: {
      options,
      log: { format: settings.text("log-format") as LogFormat, verbosity: settings.int("v") },
      warnings: [...warnings, ...idleOptions(options)],
    },
  };
}

function parseAgentFlags(args: readonly string[]): ParsedFlags {
  try {
    // Go's package knows -h without being told.
    return parseFlags(args, (name) => name === "h" ? "bool" : flagNamed(name)?.kind);
  } catch (error) {
    if (!(error instanceof FlagSyntaxError)) throw error;
    throw usageErrorOf(error);
  }
}

function unexpected(word: string, before: GivenFlag | undefined): UsageError {
  const boolean = before !== undefined && flagNamed(before.name)?.kind === "bool";
  const hint = boolean && /^(?:true|false|0|1)$/i.test(word)
    ? `-${before.name} takes no word after it: write -${before.name}=${word.toLowerCase()}.`
    : "A subcommand comes first, before any flag; see flanneld -help.";
  return new UsageError(`unexpected argument ${quote(word)} after the flags`, { hint });
}
