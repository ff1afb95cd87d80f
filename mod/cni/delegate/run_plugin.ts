import type { PluginCall } from "../call.ts";
import { CniError, Code } from "../errors.ts";
import { isObject, type JsonObject, reasonOf } from "../json.ts";

/** Finds the executable of a plugin in the directories of CNI_PATH. @throws {CniError} 103 when none has it */
export function findPlugin(type: string, path: readonly string[]): string {
  for (const directory of path) {
    const file = `${directory}/${type}`;
    try {
      if (Deno.statSync(file).isFile) return file;
    } catch {
      // The next directory may have it.
    }
  }
  throw new CniError(
    Code.DELEGATE_FAILED,
    `no plugin ${JSON.stringify(type)} in CNI_PATH`,
    path.length === 0
      ? "CNI_PATH is empty"
      : `searched ${path.join(", ")}; install it there, or use "builtin" in place of a delegate`,
  );
}

/**
 * Runs a plugin with the environment of this call, and passes its standard error through.
 *
 * @param input its configuration
 * @param call overrides of this call's environment
 * @returns its standard output
 * @throws {CniError} its own error, or 103 when it did not run or reported none
 */
export async function runDelegate(
  file: string,
  input: string,
  call: Pick<PluginCall, "command" | "containerID" | "ifname" | "netns">,
): Promise<string> {
  let output: Deno.CommandOutput;
  try {
    const child = new Deno.Command(file, {
      env: {
        CNI_COMMAND: call.command,
        CNI_CONTAINERID: call.containerID,
        CNI_IFNAME: call.ifname,
        CNI_NETNS: call.netns,
      },
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    const result = child.output();
    const writer = child.stdin.getWriter();
    // A plugin that ends before it has read everything reports why on its standard output.
    await writer.write(new TextEncoder().encode(input)).catch(() => {});
    await writer.close().catch(() => {});
    output = await result;
  } catch (error) {
    throw new CniError(Code.DELEGATE_FAILED, `cannot run ${file}`, reasonOf(error), {
      cause: error,
    });
  }
  const text = new TextDecoder().decode(output.stdout);
  if (output.success) return text;
  throw reportedError(text) ?? new CniError(
    Code.DELEGATE_FAILED,
    `${file} failed with ${output.signal ?? `exit code ${output.code}`} and without a CNI error`,
    text.trim() || undefined,
  );
}

/** Parses the error object that a plugin printed. */
export function reportedError(text: string): CniError | undefined {
  let value: JsonObject;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!isObject(value) || typeof value.code !== "number" || value.code === 0) return undefined;
  const { code, msg, details } = value;
  return new CniError(
    code,
    typeof msg === "string" ? msg : "",
    typeof details === "string" && details !== "" ? details : undefined,
  );
}
