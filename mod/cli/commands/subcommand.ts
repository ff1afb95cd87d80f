import type { AgentSubcommand } from "./agent_subcommand.ts";

/**
 * Runs a subcommand.
 *
 * @param args the words after its name
 * @param signal aborted when the process is asked to end
 * @param all every subcommand, for those that tell of the others
 * @returns the exit code
 * @throws {UsageError} for options that cannot be used
 */
export type RunSubcommand = (
  args: readonly string[],
  signal: AbortSignal,
  all: readonly Subcommand[],
) => Promise<number>;

/** One subcommand, not loaded yet. */
export interface Subcommand {
  readonly name: string;
  /** One line for the help text. */
  readonly summary: string;
  readonly load: () => Promise<SubcommandModule>;
}

/** What the file of a subcommand exports. */
export interface SubcommandModule {
  readonly run: RunSubcommand;
  /** What completions and the manual page tell of it. */
  readonly spec: AgentSubcommand;
}
