/**
 * `flanneld plan`: the changes that the agent would make on this host now.
 *
 * @module
 */

import { optionsOfWanted } from "../../agent/networks/options.ts";
import type { AgentOptions } from "../../agent/core/options.ts";
import { planAgent } from "../../agent/commands/plan.ts";
import { describeObstacle } from "../../firewall/mod.ts";
import { quietLog, readAgentLine } from "../flags/agent_line.ts";
import type { AgentSubcommand } from "./agent_subcommand.ts";
import { EXIT_FAILURE, EXIT_OK } from "../exit_codes.ts";
import { print, printError } from "../output.ts";
import { reportError } from "../report_error.ts";
import type { RunSubcommand } from "./subcommand.ts";

/** Something would change, with `-detailed-exitcode`. Terraform has 2 there, which is a usage error of flanneld. */
const EXIT_CHANGES = 3;

/** Command line of the subcommand. */
export const spec: AgentSubcommand = {
  name: "plan",
  summary:
    "Shows what the agent would change on this host now, and in the store for it: one line " +
    "for each object that it would remove (-) or add (+): lease, device, addresses, routes, " +
    "neighbours, FDB entries, routes at a cloud provider, programs in the kernel, firewall rules, " +
    "subnet.env. Changes nothing, and the agent may be running: on a healthy host the plan is empty.",
  flags: [
    {
      name: "detailed-exitcode",
      kind: "bool",
      help: "end with 3 when something would change; for scripts",
    },
  ],
  exitCodes:
    "0 planned, whether or not something would change; 1 the plan failed; 2 usage error; " +
    "3 something would change, with -detailed-exitcode.",
};

/**
 * Runs the subcommand with the environment of the process.
 *
 * @throws {UsageError} for flags that cannot be used
 * @throws as `planAgent` does
 */
export const run: RunSubcommand = async (args, signal) => {
  const line = await readAgentLine(spec, args);
  if (line === undefined) return EXIT_OK;
  const { options } = line.agent;
  quietLog(line.agent);
  let count = 0;
  let failed = false;
  for (const one of await optionsOfWanted(options, signal)) {
    if (one.networkName === undefined) count += await planOne(one, signal);
    else {
      print(`network ${one.networkName}:`);
      try {
        count += await planOne(one, signal);
      } catch (error) {
        // The plans of the other networks follow all the same.
        signal.throwIfAborted();
        printError(reportError(error).lines);
        failed = true;
      }
    }
  }
  if (failed) return EXIT_FAILURE;
  if (count === 0) print("nothing would change");
  return count > 0 && line.own.get("detailed-exitcode") === true ? EXIT_CHANGES : EXIT_OK;
};

/** @returns how much would change */
async function planOne(options: AgentOptions, signal: AbortSignal): Promise<number> {
  const { facts, changes, obstacles, provider } = await planAgent(options, signal);
  for (const fact of facts) print(`  ${fact}`);
  for (const { sign, text } of changes) print(`${sign} ${text}`);
  for (const obstacle of provider.obstacles) print(`! ${obstacle}`);
  for (const obstacle of obstacles) print(`! ${describeObstacle(obstacle)}`);
  return changes.length;
}
