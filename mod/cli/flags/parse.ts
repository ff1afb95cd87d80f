import { type AgentCommand, agentCommand, parseAgentFlags, unexpected } from "./agent_flags.ts";
import type { Environment } from "./environment.ts";
import type { Subcommand } from "../commands/subcommand.ts";
import { subcommandNamed } from "../commands/subcommands.ts";

export type { AgentCommand };

/** A request of the command line. */
export type CommandLine =
  | { readonly command: "agent"; readonly agent: AgentCommand }
  | { readonly command: "help" | "full help" | "version" }
  | { readonly command: "subcommand"; readonly subcommand: Subcommand; readonly args: string[] };

/** The request for the description of every flag; `-help` alone is a boolean, as Go's flag package has it. */
const FULL_HELP = /^--?h(elp)?=all$/;

/**
 * Reads the command line: `flanneld [flags]` runs the agent, `flanneld <subcommand> [flags]` a subcommand. The word
 * `help` (also of a subcommand) counts as the flag. `-help` and `-version` take precedence over the
 * environment, and over values that are well-formed but wrong.
 *
 * @param args the words after the program's name
 * @throws {UsageError} when it cannot be used
 */
export function parseCommandLine(args: readonly string[], environment: Environment): CommandLine {
  const first = args[0];
  if (first === "help") return help(args.slice(1));
  if (first !== undefined && !first.startsWith("-")) {
    return { command: "subcommand", subcommand: subcommandNamed(first), args: args.slice(1) };
  }
  if (args.some((word) => FULL_HELP.test(word))) return { command: "full help" };
  const { flags, rest } = parseAgentFlags(args);
  const last = new Map(flags.map(({ name, value }) => [name, value]));
  if (last.get("help") === true || last.has("h")) return { command: "help" };
  if (last.get("version") === true) return { command: "version" };
  if (rest.length > 0) throw unexpected(rest[0]!, flags.at(-1));
  return { command: "agent", agent: agentCommand(flags, environment) };
}

/** Reads `flanneld help config set` as `flanneld config set -h`. */
function help(words: readonly string[]): CommandLine {
  const [name, ...rest] = words.filter((word) => !/^--?h(elp)?$/.test(word));
  if (name === undefined) return { command: "help" };
  if (name === "all" || FULL_HELP.test(name)) return { command: "full help" };
  return { command: "subcommand", subcommand: subcommandNamed(name), args: [...rest, "-h"] };
}
