/**
 * `flanneld cleanup`: removes the state that an agent has left on this host.
 *
 * @module
 */

import { cleanUp } from "../../agent/commands/cleanup.ts";
import type { CleanupOptions, RemovalVerb } from "../../agent/commands/removal.ts";
import { removePublishedOptions } from "../../agent/host/published_options.ts";
import { optionsOfServed } from "../../agent/networks/options.ts";
import { quietLog, readAgentLine } from "../flags/agent_line.ts";
import type { AgentSubcommand } from "./agent_subcommand.ts";
import { UsageError } from "../errors.ts";
import { EXIT_FAILURE, EXIT_OK } from "../exit_codes.ts";
import { JSON_HELP, print, printError, printReport } from "../output.ts";
import { reportError } from "../report_error.ts";
import type { RunSubcommand } from "./subcommand.ts";

/** Past tense of each action, for the output. */
const PAST = { remove: "removed", add: "added", change: "changed" } as const;

/** Command line of the subcommand. */
export const spec: AgentSubcommand = {
  name: "cleanup",
  summary: "Remove the state that a stopped agent has left on this host: devices, routes, " +
    "firewall rules of iptables and nftables, subnet.env and the file with Docker's options; and " +
    "from the store, where it is reachable, the features of udp's programs in the kernel that peers " +
    "use. It prints each removed object, and keeps objects that flanneld does not manage.",
  flags: [
    { name: "dry-run", kind: "bool", help: "only print what would be removed" },
    {
      name: "keep-device",
      kind: "bool",
      help:
        "hand over to flannel 0.7.1 instead: keep vxlan's device and host-gw's routes in the form " +
        "that it takes over, subnet.env and the rules that accept forwarded packets; start it " +
        "within 20 s",
    },
    {
      name: "release",
      kind: "bool",
      help:
        "also remove this host's lease and node record from the store, where they are known to " +
        "be this host's, and with aws-vpc and gce its routes at the provider",
    },
    { name: "json", kind: "bool", help: JSON_HELP },
  ],
  exitCodes: {
    0: "everything is removed, or there was nothing",
    1: "an agent runs, or something could not be removed or released",
  },
  isAboutLastRun: true,
};

/**
 * Runs the subcommand with the environment of the process.
 *
 * @throws {UsageError} for flags that cannot be used
 * @throws as `cleanUp` does
 */
export const run: RunSubcommand = async (args, signal) => {
  const line = await readAgentLine(spec, args);
  if (line === undefined) return EXIT_OK;
  const { options } = line.agent;
  quietLog(line.agent);
  const dryRun = line.own.get("dry-run") === true;
  const release = line.own.get("release") === true;
  const keepDevice = line.own.get("keep-device") === true;
  if (release && keepDevice) {
    throw new UsageError(
      "-release and -keep-device exclude each other: flannel needs the lease that it takes over",
    );
  }
  const isJson = line.own.get("json") === true;
  const changes: { readonly action: RemovalVerb; readonly object: string }[] = [];
  const kept: string[] = [];
  const errors: string[] = [];
  let failed = 0;
  const fail = (message: string) => {
    failed++;
    errors.push(message);
    printError(message);
  };
  const actions: CleanupOptions = {
    dryRun,
    release,
    keepDevice,
    signal,
    onDone: (what, verb) => {
      changes.push({ action: verb, object: what });
      if (!isJson) print(`${dryRun ? `would ${verb}` : PAST[verb]} ${what}`);
    },
    onKept: (what) => {
      // A lease that -release asks for is a failure; an object of another program is not.
      if (release && what.startsWith("lease")) failed++;
      kept.push(what);
      if (!isJson) print(`kept ${what}`);
    },
    onFailed: (message, verb = "remove") => fail(`cannot ${verb} ${message}`),
  };
  for (const one of await optionsOfServed(options)) {
    try {
      await cleanUp(one, actions);
    } catch (error) {
      if (one.networkName === undefined) throw error;
      // The state of the other networks is removed all the same.
      signal.throwIfAborted();
      fail(`network ${one.networkName}: ${reportError(error).lines.join("; ")}`);
    }
  }
  if (failed === 0 && !dryRun && !keepDevice) await removePublishedOptions(options);
  if (isJson) printReport({ dryRun, changes, kept, errors });
  else if (changes.length === 0 && failed === 0) print("nothing to remove");
  return failed === 0 ? EXIT_OK : EXIT_FAILURE;
};
