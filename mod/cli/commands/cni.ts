/**
 * `flanneld cni install|uninstall`: makes the link by which a container runtime runs the program as its plugin.
 *
 * @module
 */

import { installPlugin, uninstallPlugin } from "../../cni/install.ts";
import { ExportError, reasonOf } from "../../export/errors.ts";
import { EXIT_OK } from "../exit_codes.ts";
import { print, printOwnText } from "../output.ts";
import { type AgentSubcommand, parseSubcommand } from "./agent_subcommand.ts";
import type { RunSubcommand } from "./subcommand.ts";

/** Where container runtimes look for plugins. */
const DIRECTORY = "/opt/cni/bin";

/** Command line of the subcommand. */
export const spec: AgentSubcommand = {
  name: "cni",
  summary: "Install the CNI plugin flannel, or remove it: a link to this program, which acts as " +
    "the plugin when a container runtime runs it by that name. The network configuration in " +
    "/etc/cni/net.d is the operator's; docs/containers/cni.md has examples.",
  flags: [
    {
      ...{ name: "dir", kind: "string", placeholder: "directory" },
      help: `directory of the runtime's plugins (default ${DIRECTORY}); for Podman ` +
        "/usr/libexec/netavark",
    },
    {
      ...{ name: "force", kind: "bool" },
      help: "replace another plugin of that name, such as upstream flannel's",
    },
  ],
  operands: {
    usage: "install|uninstall",
    help: "install makes the link, uninstall removes it and nothing else.",
    count: [1, 1],
    choices: ["install", "uninstall"],
  },
  exitCodes: {
    0: "the link is there, or gone",
    1: "another plugin of that name is there, or the link cannot be made or removed",
  },
  agentFlags: false,
};

/**
 * Runs the subcommand.
 *
 * @throws {UsageError} for a command line that cannot be used
 * @throws {ExportError} when the link cannot be made or removed
 */
export const run: RunSubcommand = async (args) => {
  const line = parseSubcommand(spec, args);
  if ("help" in line) {
    printOwnText(line.help);
    return EXIT_OK;
  }
  const [verb] = line.operands;
  const directory = String(line.own.get("dir") ?? DIRECTORY);
  try {
    print([
      verb === "install"
        ? await installPlugin(directory, Deno.execPath(), line.own.get("force") === true)
        : await uninstallPlugin(directory, Deno.execPath()),
    ]);
  } catch (error) {
    if (error instanceof ExportError) throw error;
    throw new ExportError(`cannot ${verb} ${directory}/flannel: ${reasonOf(error)}`, {
      cause: error,
    });
  }
  return EXIT_OK;
};
