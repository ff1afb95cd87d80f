/**
 * Name of the plugin: a CNI configuration selects it with `"type": "flannel"`, a Podman network with
 * `--driver flannel`.
 */
export const PLUGIN_NAME = "flannel";

/** Commands of netavark, the first argument; a CNI runtime gives none. */
const NETAVARK_COMMANDS = ["create", "setup", "teardown", "info"];

/**
 * Returns which plugin a container runtime runs the program as, by a link of that name.
 *
 * @param commandLine content of /proc/self/cmdline: NUL-terminated words
 * @returns `undefined` when the program runs as itself
 */
export function pluginCalled(commandLine: string): "cni" | "netavark" | undefined {
  const [program = "", command = ""] = commandLine.split("\0", 2);
  if (program.slice(program.lastIndexOf("/") + 1) !== PLUGIN_NAME) return undefined;
  return NETAVARK_COMMANDS.includes(command) ? "netavark" : "cni";
}
