/**
 * `flanneld plan`: the changes that the agent would make on this host now.
 *
 * @module
 */

import { optionsOfWanted } from "../../agent/networks/options.ts";
import { type AgentPlan, planAgent } from "../../agent/commands/plan.ts";
import { describeObstacle } from "../../firewall/mod.ts";
import { quietLog, readAgentLine } from "../flags/agent_line.ts";
import type { AgentSubcommand } from "./agent_subcommand.ts";
import { EXIT_FAILURE, EXIT_OK } from "../exit_codes.ts";
import { JSON_HELP, type Paint, print, printError, printReport, type Tint } from "../output.ts";
import { reportError } from "../report_error.ts";
import type { RunSubcommand } from "./subcommand.ts";

/** Something would change, with -detailed-exitcode. Terraform has 2 there, which is a usage error of flanneld. */
const EXIT_CHANGES = 3;

/** Command line of the subcommand. */
export const spec: AgentSubcommand = {
  name: "plan",
  summary: "Show what the agent would change on this host now, and in the store for it: one line " +
    "for each object that it would remove (-) or add (+): lease, device, addresses, routes, " +
    "neighbours, FDB entries, routes at a cloud provider, programs in the kernel, firewall rules, " +
    "subnet.env. It changes nothing, and the agent may be running: on a healthy host the plan is empty.",
  flags: [
    {
      name: "detailed-exitcode",
      kind: "bool",
      help: "end with 3 when something would change; for scripts",
    },
    { name: "json", kind: "bool", help: JSON_HELP },
  ],
  exitCodes: {
    0: "planned, whether or not something would change",
    1: "the plan failed",
    3: "something would change, with -detailed-exitcode",
  },
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
  const isJson = line.own.get("json") === true;
  const networks: NetworkPlan[] = [];
  for (const one of await optionsOfWanted(options, signal)) {
    const name = one.networkName ?? "";
    if (name !== "" && !isJson) print(`network ${name}:`);
    try {
      const plan = planOf(name, await planAgent(one, signal));
      networks.push(plan);
      if (!isJson) print(describe(plan), paintSign);
    } catch (error) {
      if (name === "") throw error;
      // The plans of the other networks follow all the same.
      signal.throwIfAborted();
      const { lines } = reportError(error);
      networks.push({ name, error: lines.join("; "), facts: [], changes: [], obstacles: [] });
      printError(lines);
    }
  }
  const hasChanges = networks.some(({ changes }) => changes.length > 0);
  const hasFailed = networks.some(({ error }) => error !== null);
  if (isJson) printReport({ networks });
  else if (!hasChanges && !hasFailed) print("nothing would change");
  if (hasFailed) return EXIT_FAILURE;
  return hasChanges && line.own.get("detailed-exitcode") === true ? EXIT_CHANGES : EXIT_OK;
};

/** The plan of one network, as `-json` prints it. */
interface NetworkPlan {
  /** Empty without `-networks`. */
  readonly name: string;
  /** Reason for which nothing could be planned; `null` otherwise. */
  readonly error: string | null;
  readonly facts: readonly string[];
  readonly changes: readonly { readonly action: "add" | "remove"; readonly object: string }[];
  /** Reasons for which packets are dropped that the agent would not remove. */
  readonly obstacles: readonly string[];
}

function planOf(name: string, { facts, changes, obstacles, provider }: AgentPlan): NetworkPlan {
  return {
    name,
    error: null,
    facts,
    changes: changes.map(({ sign, text }) => ({
      action: sign === "-" ? "remove" : "add",
      object: text,
    })),
    obstacles: [...provider.obstacles, ...obstacles.map(describeObstacle)],
  };
}

const SIGNS: Readonly<Record<string, Tint["color"]>> = { "-": "red", "+": "green", "!": "yellow" };

const paintSign: Paint = (line) => {
  const color = SIGNS[line[0] ?? ""];
  return color === undefined ? undefined : { color };
};

function describe({ facts, changes, obstacles }: NetworkPlan): string[] {
  return [
    ...facts.map((fact) => `  ${fact}`),
    ...changes.map(({ action, object }) => `${action === "remove" ? "-" : "+"} ${object}`),
    ...obstacles.map((obstacle) => `! ${obstacle}`),
  ];
}
