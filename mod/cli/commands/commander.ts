import { Command, CommanderError } from "commander";
import { UsageError } from "../errors.ts";
import { EXIT_OK } from "../exit_codes.ts";

/** A subcommand's options, read by commander, that throws in place of ending the process. */
export function createCommand(name: string, summary: string): Command {
  return new Command(`flanneld ${name}`)
    .description(summary)
    .helpOption("-h, --help", "print this text")
    .allowExcessArguments(false)
    .exitOverride()
    .configureOutput({ writeErr: () => {} });
}

/**
 * Reads the words after the subcommand's name into `command`.
 *
 * @returns an exit code when the words asked for the help text, which is then written
 * @throws {UsageError} when they cannot be read
 */
export function parseSubcommand(command: Command, args: readonly string[]): number | undefined {
  try {
    command.parse(args, { from: "user" });
    return undefined;
  } catch (cause) {
    if (!(cause instanceof CommanderError)) throw cause;
    if (cause.exitCode === EXIT_OK) return EXIT_OK;
    const [message] = cause.message.replace(/^error: /, "").split("\n");
    throw new UsageError(`${command.name()}: ${message}`, {
      cause,
      hint: `Run '${command.name()} -h' for its options.`,
    });
  }
}
