/**
 * `flanneld explain ADDRESS`: the path of a packet from this host to an address.
 *
 * @module
 */

import { optionsOfWanted } from "../../agent/networks/options.ts";
import type { AgentOptions } from "../../agent/core/options.ts";
import {
  explainAddress,
  type Explanation,
  isComplete,
  type ProbeKind,
  type ProbeProtocol,
  PROTOCOLS,
  Unavailable,
} from "../../doctor/mod.ts";
import { type IPv4, parseIPv4 } from "../../ip/mod.ts";
import { quietLog, readAgentLine } from "../flags/agent_line.ts";
import type { AgentSubcommand } from "./agent_subcommand.ts";
import { UsageError } from "../errors.ts";
import { EXIT_FAILURE, EXIT_OK } from "../exit_codes.ts";
import { type FlagValue, quote } from "../flags/flag_syntax.ts";
import { print, printError, printJson } from "../output.ts";
import type { RunSubcommand } from "./subcommand.ts";

/** Version of the JSON; a change that breaks readers raises it. */
const EXPLAIN_VERSION = 1;

/** Command line of the subcommand. */
export const spec: AgentSubcommand = {
  name: "explain",
  summary: "Show the path of a packet from this host to an address, step by step: holder of the " +
    "subnet, route, device, neighbour, FDB entry, encapsulation, route to the other host, forwarding, " +
    "firewall and masquerade; each step that is missing or wrong; and whether the address answers. As root, it sends a probe through " +
    "the host's rules in each direction, and names the rule that drops it and the least change that " +
    "lets it through. It makes no lasting change.",
  flags: [
    { name: "json", kind: "bool", help: "print one JSON object for scripts" },
    {
      ...{ name: "port", kind: "int", placeholder: "number" },
      help: "destination port of the probe, 1 to 65535 (default none: an ICMP echo)",
    },
    {
      ...{ name: "proto", kind: "string", placeholder: "name", choices: Object.keys(PROTOCOLS) },
      help: "protocol of the probe: icmp, tcp or udp (default tcp with -port, icmp without)",
    },
  ],
  operands: {
    usage: "ADDRESS",
    help: "ADDRESS is the IPv4 address of a container or of any other host.",
    count: [1, 1],
  },
  exitCodes: {
    0: "the address answers",
    1: "no answer, a refusal, a step of the path that is missing or wrong, no host that holds the " +
      "address, or the path cannot be found out",
  },
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
    throw new UsageError(`${quote(word)} is not an IPv4 address`, {
      hint: "Write for example: flanneld explain 10.20.65.2",
    });
  }
  const kind = probeKind(line.own);
  const { options } = line.agent;
  quietLog(line.agent, { silent: true });
  let explanation: Explanation;
  try {
    explanation = await explain(options, address, { kind, signal });
  } catch (error) {
    if (!(error instanceof Unavailable)) throw error;
    printError(`cannot explain the address: ${error.message}; run flanneld doctor`);
    return EXIT_FAILURE;
  }
  if (line.own.get("json") === true) {
    const answer = { explainVersion: EXPLAIN_VERSION, complete: isComplete(explanation) };
    printJson({ ...answer, ...explanation });
  } else print(describe(explanation));
  return isComplete(explanation) ? EXIT_OK : EXIT_FAILURE;
};

/** Explains the address in the network that contains it, where the host serves several networks. */
async function explain(
  options: AgentOptions,
  address: IPv4,
  { kind, signal }: { readonly kind: ProbeKind | undefined; readonly signal: AbortSignal },
): Promise<Explanation> {
  let last: Explanation | undefined;
  for (const one of await optionsOfWanted(options, signal)) {
    last = await explainAddress(one, address, signal, kind);
    if (last.kind !== "outside") break;
  }
  return last ?? await explainAddress(options, address, signal, kind);
}

function describe({ verdict, steps }: Explanation): string[] {
  return [
    verdict,
    ...steps.flatMap(({ object, text, wrong, fix = [] }) => [
      `  ${object.padEnd(13)}  ${text}`,
      ...(wrong === undefined ? [] : [`${"".padEnd(15)}! ${wrong}`]),
      ...fix.map((command) => `${"".padEnd(15)}> ${command}`),
    ]),
  ];
}

/**
 * Returns the protocol and port to probe, from `-proto` and `-port`; `undefined` without both flags.
 *
 * @throws {UsageError} for values that do not fit each other
 */
function probeKind(own: ReadonlyMap<string, FlagValue>): ProbeKind | undefined {
  const port = own.get("port") as number | undefined;
  const name = own.get("proto") as string | undefined;
  if (port === undefined && name === undefined) return undefined;
  const protocol = (name ?? "tcp") as ProbeProtocol;
  if (!Object.hasOwn(PROTOCOLS, protocol)) {
    throw new UsageError(
      `invalid value ${quote(protocol)} for flag -proto: expected ` +
        Object.keys(PROTOCOLS).join(" or "),
    );
  }
  if (protocol === "icmp" && port !== undefined) {
    throw new UsageError("ICMP has no ports: leave out -port, or give -proto tcp or udp");
  }
  if (protocol !== "icmp" && (port === undefined || port < 1 || port > 65535)) {
    throw new UsageError(
      port === undefined
        ? `-proto ${protocol} needs -port`
        : `invalid value "${port}" for flag -port: expected a whole number from 1 to 65535`,
      { hint: "Write for example: flanneld explain -port 80 10.20.65.2" },
    );
  }
  return { protocol, port: port ?? 0 };
}
