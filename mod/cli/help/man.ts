/**
 * `flanneld man`: prints the manual page.
 *
 * @module
 */

import { type AgentSubcommand, parseSubcommand } from "../commands/agent_subcommand.ts";
import { EXIT_OK } from "../exit_codes.ts";
import { manPage } from "./man_page.ts";
import { printOwnText } from "../output.ts";
import type { RunSubcommand } from "../commands/subcommand.ts";

/** Command line of the subcommand. */
export const spec: AgentSubcommand = {
  name: "man",
  summary: "Print the manual page in roff: flanneld man | man -l -",
  flags: [],
  exitCodes: { 0: "printed" },
  agentFlags: false,
};

/** Prints the page. */
export const run: RunSubcommand = async (args, _signal, subcommands) => {
  const line = parseSubcommand(spec, args);
  printOwnText("help" in line ? line.help : await manPage(subcommands));
  return EXIT_OK;
};
