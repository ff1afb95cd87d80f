/**
 * `flanneld completions bash|zsh|fish`: prints the completion script of a shell.
 *
 * @module
 */

import { type AgentSubcommand, parseSubcommand } from "../commands/agent_subcommand.ts";
import { completionTable } from "./completion_table.ts";
import { bashCompletions } from "./completions_bash.ts";
import { fishCompletions } from "./completions_fish.ts";
import { zshCompletions } from "./completions_zsh.ts";
import { UsageError } from "../errors.ts";
import { EXIT_OK } from "../exit_codes.ts";
import { quote } from "../flags/flag_syntax.ts";
import { printOwnText } from "../output.ts";
import type { RunSubcommand, Subcommand } from "../commands/subcommand.ts";

/** Writers of scripts, by the shell's name. */
const SHELLS = { bash: bashCompletions, zsh: zshCompletions, fish: fishCompletions } as const;

/** A shell with a script. */
export type Shell = keyof typeof SHELLS;

/** Command line of the subcommand. */
export const spec: AgentSubcommand = {
  name: "completions",
  summary: "Print the completion script of a shell. For bash: flanneld completions bash > " +
    "/usr/share/bash-completion/completions/flanneld, or source <(flanneld completions bash). " +
    "For zsh: to _flanneld in a directory of $fpath. For fish: to " +
    "~/.config/fish/completions/flanneld.fish.",
  flags: [],
  operands: {
    usage: Object.keys(SHELLS).join("|"),
    help: "The shell to print the script of.",
    count: [1, 1],
    choices: Object.keys(SHELLS),
  },
  exitCodes: { 0: "printed" },
  agentFlags: false,
};

/** The script of a shell. */
export async function completions(
  shell: Shell,
  subcommands: readonly Subcommand[],
): Promise<string> {
  return SHELLS[shell](await completionTable(subcommands));
}

/**
 * Prints the script.
 *
 * @throws {UsageError} for a shell without a script
 */
export const run: RunSubcommand = async (args, _signal, subcommands) => {
  const line = parseSubcommand(spec, args);
  if ("help" in line) {
    printOwnText(line.help);
    return EXIT_OK;
  }
  const [shell] = line.operands;
  if (!Object.hasOwn(SHELLS, shell!)) {
    throw new UsageError(
      `unknown shell ${quote(shell!)}: expected ${Object.keys(SHELLS).join(", ")}`,
    );
  }
  printOwnText(await completions(shell as Shell, subcommands));
  return EXIT_OK;
};
