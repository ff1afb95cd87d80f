import type { AgentSubcommand } from "./agent_subcommand.ts";

/**
 * Runs a subcommand.
 *
 * @param args the words after its name
 * @param signal aborted when the process is asked to end
 * @param all every subcommand, for completions and the manual page
 * @returns the exit code
 * @throws {UsageError} for options that cannot be used
 */
export type RunSubcommand = (
  args: readonly string[],
  signal: AbortSignal,
  all: readonly Subcommand[],
) => Promise<number>;

/** A subcommand, loaded when it runs. */
export interface Subcommand {
  readonly name: string;
  /** One line for the help text. */
  readonly summary: string;
  readonly load: () => Promise<SubcommandModule>;
}

/** Exports of a subcommand's file. */
export interface SubcommandModule {
  readonly run: RunSubcommand;
  /** Its command line, for completions and the manual page. */
  readonly spec: AgentSubcommand;
}
