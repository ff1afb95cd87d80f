/**
 * `flanneld explain ADDRESS`: where a packet for an address goes from this host.
 *
 * @module
 */

import { optionsOfWanted } from "../agent/networks_options.ts";
import type { AgentOptions } from "../agent/options.ts";
import { explainAddress, type Explanation, isComplete, Unavailable } from "../doctor/mod.ts";
import { type IPv4, parseIPv4 } from "../ip/mod.ts";
import { quietLog, readAgentLine } from "./agent_line.ts";
import type { AgentSubcommand } from "./agent_subcommand.ts";
import { UsageError } from "./errors.ts";
import { EXIT_FAILURE, EXIT_OK } from "./exit_codes.ts";
import { quote } from "./flag_syntax.ts";
import { print, printError, printJson } from "./output.ts";
import type { RunSubcommand } from "./subcommand.ts";

/** Version of the JSON; a change that breaks readers raises it. */
const EXPLAIN_VERSION = 1;

/** What the subcommand is. */
export const spec: AgentSubcommand = {
  name: "explain",
  summary: "Tells where a packet for an address goes from this host, object by object: who holds " +
    "the subnet, route, device, neighbour, forwarding entry, encapsulation, the way to that host, " +
    "forwarding, firewall and masquerade; and what of it is missing or wrong. It changes nothing.",
  flags: [{ name: "json", kind: "bool", help: "print one JSON object for scripts" }],
  operands: {
    usage: "ADDRESS",
    help: "ADDRESS is an IPv4 address, of a container or of anything else.",
    count: [1, 1],
  },
  exitCodes:
    "0 packets get on their way; 1 something on it is missing or wrong, nobody holds the " +
    "address, or it cannot be told; 2 wrong command line or environment.",
};

/**
 * Runs the subcommand with the environment of the process.
 *
 * @throws {UsageError} for flags or an address that cannot be used
 * @throws as `explainAddress` does
 */
export const run: RunSubcommand = async (args, signal) => {
  const line = await readAgentLine(spec, args);
  if (line === undefined) return EXIT_OK;
  const [word = ""] = line.operands;
  const address = parseIPv4(word);
  if (address === undefined) {
    throw new UsageError(`${quote(word)} is no IPv4 address`, {
      hint: "Write for example: flanneld explain 10.20.65.2",
    });
  }
  const { options } = line.agent;
  quietLog(line.agent, { silent: true });
  let explanation: Explanation;
  try {
    explanation = await explain(options, address, signal);
  } catch (error) {
    if (!(error instanceof Unavailable)) throw error;
    printError(`it cannot be told: ${error.message}; see flanneld doctor`);
    return EXIT_FAILURE;
  }
  if (line.own.get("json") === true) {
    const answer = { explainVersion: EXPLAIN_VERSION, complete: isComplete(explanation) };
    printJson({ ...answer, ...explanation });
  } else print(describe(explanation));
  return isComplete(explanation) ? EXIT_OK : EXIT_FAILURE;
};

/** Of several networks the one that holds the address. */
async function explain(
  options: AgentOptions,
  address: IPv4,
  signal: AbortSignal,
): Promise<Explanation> {
  let last: Explanation | undefined;
  for (const one of await optionsOfWanted(options, signal)) {
    last = await explainAddress(one, address, signal);
    if (last.kind !== "outside") break;
  }
  return last ?? await explainAddress(options, address, signal);
}

function describe({ verdict, steps }: Explanation): string[] {
  return [
    verdict,
    ...steps.flatMap(({ object, text, wrong }) => [
      `  ${object.padEnd(13)}  ${text}`,
      ...(wrong === undefined ? [] : [`${"".padEnd(15)}! ${wrong}`]),
    ]),
  ];
}
