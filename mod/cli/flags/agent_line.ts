import { configureLog } from "../../observe/log/log.ts";
import type { AgentCommand } from "./agent_flags.ts";
import {
  type AgentSubcommand,
  type AgentSubcommandWords,
  parseAgentSubcommand,
} from "../commands/agent_subcommand.ts";
import { printNote, printOwnText } from "../output.ts";

/** The command line of a subcommand that works for the agent. */
export type AgentLine = AgentSubcommandWords;

/**
 * Reads the words after a subcommand, with the environment of the process. Prints the help text when the words ask
 * for it.
 *
 * @returns `undefined` after the help text
 * @throws {UsageError} for a command line that cannot be used
 */
export async function readAgentLine(
  spec: AgentSubcommand,
  args: readonly string[],
): Promise<AgentLine | undefined> {
  const line = await parseAgentSubcommand(spec, args, Deno.env.toObject());
  if (!("help" in line)) return line;
  printOwnText(line.help);
  return undefined;
}

/** Options of {@linkcode quietLog}. */
export interface QuietLogOptions {
  /** Write no log below `-v=1`: the command's own output has the errors. @default false */
  readonly silent?: boolean;
}

/** Configures the log for a command instead of a daemon, and prints the command line's warnings. */
export function quietLog(
  { log, warnings }: AgentCommand,
  { silent = false }: QuietLogOptions = {},
): void {
  const write = silent && log.verbosity === 0 ? { write: () => {} } : {};
  configureLog({ ...log, quiet: true, ...write });
  for (const warning of warnings) printNote(warning);
}
