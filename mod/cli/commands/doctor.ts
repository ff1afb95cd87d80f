/**
 * `flanneld doctor`: checks this host and its network.
 *
 * @module
 */

import { optionsOfWanted } from "../../agent/networks/options.ts";
import type { AgentOptions } from "../../agent/core/options.ts";
import { type CheckReport, countVerdicts, runDoctor } from "../../doctor/mod.ts";
import { StoreError } from "../../store/errors.ts";
import { VERSION } from "../../version.ts";
import { quietLog, readAgentLine } from "../flags/agent_line.ts";
import type { AgentSubcommand } from "./agent_subcommand.ts";
import { EXIT_FAILURE, EXIT_OK } from "../exit_codes.ts";
import { type Paint, print, printJson, type Tint } from "../output.ts";
import type { RunSubcommand } from "./subcommand.ts";
import { counted } from "../../text/mod.ts";

/** Version of the JSON; a change that breaks readers raises it. */
const DOCTOR_VERSION = 1;

/** Command line of the subcommand. */
export const spec: AgentSubcommand = {
  name: "doctor",
  summary: "Check this host and its network: store, prefix, config, interface, lease, kernel " +
    "parameters, firewall, Docker, routes, whether packets reach the other hosts and their " +
    "containers and how large they may be, clock, versions. Each check reports its evidence and the " +
    "command that fixes the problem. doctor sends a probe through this host's rules in each " +
    "direction, and names the rule that drops it. It makes no lasting change, and the agent may be running. Some " +
    "checks need root.",
  flags: [{ name: "json", kind: "bool", help: "print one JSON object for scripts" }],
  exitCodes: {
    0: "no problem, though there may be warnings",
    1: "a problem, or no check could run",
  },
};

/**
 * Runs the subcommand with the environment of the process.
 *
 * @throws {UsageError} for flags that cannot be used
 */
export const run: RunSubcommand = async (args, signal) => {
  const line = await readAgentLine(spec, args);
  if (line === undefined) return EXIT_OK;
  const { options, log } = line.agent;
  quietLog(line.agent, { silent: true });
  const isJson = line.own.get("json") === true;
  const isVerbose = log.verbosity > 0;
  const reports: (CheckReport & { readonly network?: string })[] = [];
  for (const one of await wantedOf(options, signal)) {
    const name = one.networkName;
    if (name !== undefined && !isJson) print(`network ${name}:`);
    const found = await runDoctor(one, {
      signal,
      ...(isJson ? {} : { onReport: (report) => print(describe(report, isVerbose), paintVerdict) }),
    });
    reports.push(
      ...found.map((report) => name === undefined ? report : { network: name, ...report }),
    );
  }
  const counts = countVerdicts(reports);
  if (isJson) {
    printJson({
      doctorVersion: DOCTOR_VERSION,
      version: VERSION,
      hostname: Deno.hostname(),
      time: new Date().toISOString(),
      counts,
      checks: reports,
    });
  } else {
    print([
      "",
      `${counted(counts.problem, "problem")}, ${counted(counts.warning, "warning")}, ` +
      `${counts.unchecked} not checked`,
    ]);
  }
  return counts.problem > 0 || counts.unchecked === reports.length ? EXIT_FAILURE : EXIT_OK;
};

/** The options for each network of several; the checks report a store that cannot list the networks. */
async function wantedOf(
  options: AgentOptions,
  signal: AbortSignal,
): Promise<readonly AgentOptions[]> {
  try {
    const wanted = await optionsOfWanted(options, signal);
    return wanted.length > 0 ? wanted : [options];
  } catch (error) {
    if (error instanceof StoreError) return [options];
    throw error;
  }
}

const VERDICTS: Readonly<Record<string, Tint["color"]>> = {
  ok: "green",
  warning: "yellow",
  problem: "red",
};

const paintVerdict: Paint = (line) => {
  const [word] = line.split(" ", 1) as [string];
  const color = VERDICTS[word];
  return color === undefined ? undefined : { color, length: word.length };
};

/** One line for a check, with its evidence below it where the verdict is not ok or `all` is set. */
function describe({ verdict, id, summary, evidence, fix }: CheckReport, all: boolean): string[] {
  const lines = [`${verdict.padEnd(9)}  ${id.padEnd(16)}  ${summary}`];
  if (verdict !== "ok" || all) lines.push(...evidence.map((line) => `             ${line}`));
  lines.push(...fix.map((line) => `           > ${line}`));
  return lines;
}
