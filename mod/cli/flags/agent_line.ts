import { configureLog } from "../../observe/log/log.ts";
import type { AgentCommand } from "./agent_flags.ts";
import {
  type AgentSubcommand,
  type AgentSubcommandWords,
  parseAgentSubcommand,
} from "../commands/agent_subcommand.ts";
import { printError, printOwnText } from "../output.ts";

/** The command line of a subcommand that works for the agent. */
export type AgentLine = AgentSubcommandWords;

/**
 * Reads the words behind a subcommand, with the environment of the process.
 *
 * @returns `undefined` when its help was asked for, which is printed
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
  /** Write no log at all below `-v=1`: what is wrong is in the command's own answer. @default false */
  readonly silent?: boolean;
}

/** Makes the log that of a command, not of a daemon, and tells what the command line warns of. */
export function quietLog(
  { log, warnings }: AgentCommand,
  { silent = false }: QuietLogOptions = {},
): void {
  const write = silent && log.verbosity === 0 ? { write: () => {} } : {};
  configureLog({ ...log, quiet: true, ...write });
  for (const warning of warnings) printError(warning);
}
