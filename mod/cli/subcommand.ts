/**
 * Runs a subcommand.
 *
 * @param args the words after its name
 * @param signal aborted when the process is asked to end
 * @returns the exit code
 * @throws {UsageError} for options that cannot be used
 */
export type RunSubcommand = (args: readonly string[], signal: AbortSignal) => Promise<number>;

/** One subcommand, not loaded yet. */
export interface Subcommand {
  readonly name: string;
  /** One line for the help text. */
  readonly summary: string;
  readonly load: () => Promise<{ readonly run: RunSubcommand }>;
}
