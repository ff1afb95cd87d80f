/**
 * `flanneld version`: the version of the program and of its parts, for a report or an inventory.
 *
 * @module
 */

import { type AgentSubcommand, parseSubcommand } from "./agent_subcommand.ts";
import { COMMIT, VERSION } from "../../version.ts";
import { EXIT_OK } from "../exit_codes.ts";
import { JSON_HELP, print, printOwnText, printReport } from "../output.ts";
import type { RunSubcommand } from "./subcommand.ts";

/** Command line of the subcommand. */
export const spec: AgentSubcommand = {
  name: "version",
  summary: "Print the name, version and commit of the program, the version of the Deno that it " +
    "embeds, and the target that it was compiled for. flanneld -version prints the version alone.",
  flags: [{ name: "json", kind: "bool", help: JSON_HELP }],
  exitCodes: { 0: "printed" },
  agentFlags: false,
};

/** Prints the versions. */
export const run: RunSubcommand = (args) => {
  const line = parseSubcommand(spec, args);
  if ("help" in line) printOwnText(line.help);
  else if (line.own.get("json") === true) {
    printReport({
      name: "flanneld",
      release: VERSION,
      commit: COMMIT === "" ? null : COMMIT,
      deno: Deno.version.deno,
      target: Deno.build.target,
    });
  } else {
    print([
      `flanneld ${VERSION}`,
      `commit   ${COMMIT === "" ? "unknown" : COMMIT}`,
      `Deno     ${Deno.version.deno}`,
      `target   ${Deno.build.target}`,
    ]);
  }
  return Promise.resolve(EXIT_OK);
};
