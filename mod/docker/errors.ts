/** A call that the plugin refuses. Docker prints the message, which is one line, behind `remote: `. */
export class DockerPluginError extends Error {
  override readonly name = "DockerPluginError";
}
