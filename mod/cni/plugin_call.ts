/** Name of the CNI plugin; a network configuration selects it with `"type": "flannel"`. */
export const PLUGIN_NAME = "flannel";

/**
 * Returns whether a container runtime runs the program as the plugin, by a link of that name.
 *
 * @param commandLine content of /proc/self/cmdline: NUL-terminated words
 */
export function isPluginCall(commandLine: string): boolean {
  const [program = ""] = commandLine.split("\0", 1);
  return program.slice(program.lastIndexOf("/") + 1) === PLUGIN_NAME;
}
