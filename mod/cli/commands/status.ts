/**
 * `flanneld status`: the status of this host's agent.
 *
 * @module
 */

import { askStatus, type StatusAnswer, StatusError } from "../../agent/status/ask.ts";
import type { AgentStatus } from "../../agent/status/status.ts";
import { sleep } from "../../async/sleep.ts";
import { readAgentLine } from "../flags/agent_line.ts";
import type { AgentSubcommand } from "./agent_subcommand.ts";
import { UsageError } from "../errors.ts";
import { EXIT_FAILURE, EXIT_OK } from "../exit_codes.ts";
import { quote } from "../flags/flag_syntax.ts";
import { print, printError, printJsonText, printScreen } from "../output.ts";
import { isWell, paintStatus, statusTable } from "./status_table.ts";
import type { RunSubcommand } from "./subcommand.ts";

/** Command line of the subcommand. */
export const spec: AgentSubcommand = {
  name: "status",
  summary: "Show the status of this host's agent: lease, store, backend, peers with round-trip " +
    "times and traffic, repairs, warnings. It asks the running agent over its unix socket, which only " +
    "root may use. The agent measures round-trip times while its status is polled: the first answer " +
    "has none.",
  flags: [
    { name: "watch", kind: "bool", help: "repeat every two seconds, with rates" },
    { name: "json", kind: "bool", help: "print the agent's JSON; with -watch one line each time" },
    {
      name: "peers",
      kind: "string",
      placeholder: "number",
      help: "peers to list, or all (default 1000)",
    },
  ],
  exitCodes: {
    0: "the agent is ready and has no warning, or -watch was stopped",
    1: "the agent is not ready, is unhealthy, has a warning, or does not run",
  },
};

/** Interval of `-watch`. */
const INTERVAL_MS = 2_000;

/**
 * Runs the subcommand with the environment of the process.
 *
 * @throws {UsageError} for flags that cannot be used
 */
export const run: RunSubcommand = async (args, signal) => {
  const line = await readAgentLine(spec, args);
  if (line === undefined) return EXIT_OK;
  const { own, agent } = line;
  const { socket } = agent.options.status;
  const peers = String(own.get("peers") ?? 1000);
  if (!isPeerCount(peers)) {
    throw new UsageError(
      `invalid value ${quote(peers)} for flag -peers: expected a whole number, or all`,
    );
  }
  const json = own.get("json") === true;
  try {
    if (socket === undefined) {
      throw new StatusError("the agent serves no status socket: -status-socket is none");
    }
    const ask = () => askStatus(socket, { peers, signal });
    return own.get("watch") === true ? await watch(ask, json, signal) : await once(ask, json);
  } catch (error) {
    if (signal.aborted) return EXIT_OK;
    if (!(error instanceof StatusError)) throw error;
    printError(error.message);
    return EXIT_FAILURE;
  }
};

/** True for a value of the agent's `/status?peers=`. */
function isPeerCount(text: string): boolean {
  return text === "all" || /^\d{1,9}$/.test(text);
}

async function once(ask: () => Promise<StatusAnswer>, json: boolean): Promise<number> {
  const { text, status } = await ask();
  if (json) printJsonText(text);
  else print(statusTable(status, { columns: terminal().columns }), paintStatus);
  return isWell(status) ? EXIT_OK : EXIT_FAILURE;
}

/** Polls the status until the signal aborts. Waits for an agent that restarts. */
async function watch(
  ask: () => Promise<StatusAnswer>,
  json: boolean,
  signal: AbortSignal,
): Promise<number> {
  let before: AgentStatus | undefined;
  const redraws = !json && Deno.stdout.isTerminal();
  while (!signal.aborted) {
    let lines: readonly string[];
    try {
      const answer = await ask();
      if (json) printJsonText(answer.text);
      lines = statusTable(answer.status, {
        before,
        ...terminal(),
        ...(redraws ? {} : { lines: Infinity }),
      });
      before = answer.status;
    } catch (error) {
      if (!(error instanceof StatusError)) throw error;
      // A reader of JSON gets no line.
      lines = [error.message];
      before = undefined;
    }
    if (redraws) printScreen(lines, paintStatus);
    else if (!json) print([...lines, ""]);
    await sleep(INTERVAL_MS, signal);
  }
  return EXIT_OK;
}

/** Size of the terminal; a pipe takes any number of lines of any length. */
function terminal(): { readonly columns: number; readonly lines: number } {
  try {
    const { columns, rows } = Deno.consoleSize();
    // The last line is where the cursor stays.
    if (columns > 0 && Deno.stdout.isTerminal()) return { columns, lines: rows - 1 };
  } catch {
    // Standard output is not a terminal.
  }
  return { columns: Infinity, lines: Infinity };
}
