import { LEASE_DIRECTORY } from "./builtin/options.ts";
import { type PluginCall, readCall } from "./call.ts";
import { parseInput, type PluginConfig, readConfig } from "./config.ts";
import {
  addByDelegate,
  checkByDelegate,
  collectByDelegate,
  deleteByDelegate,
  statusOfDelegate,
} from "./delegate/delegate.ts";
import { CniError, Code, encodeError } from "./errors.ts";
import type { JsonObject } from "./json.ts";
import { encodeVersions, LATEST_VERSION, SUPPORTED_VERSIONS } from "./version.ts";

/**
 * Runs the plugin as a container runtime calls it: environment and standard input in, one JSON object on standard
 * output.
 *
 * @returns the exit code: 0, or 1 with an error object
 */
export async function runPlugin(): Promise<number> {
  const lookup = (name: string) => Deno.env.get(name);
  if (!lookup("CNI_COMMAND")) {
    // A person runs it.
    write(
      Deno.stderr,
      `CNI plugin flannel of flanneld; versions ${SUPPORTED_VERSIONS.join(", ")}\n`,
    );
    return 0;
  }
  let input: JsonObject | undefined;
  try {
    const call = readCall(lookup);
    input = parseInput(readStandardInput());
    const result = await perform(call, input);
    if (result !== "") write(Deno.stdout, `${result.trimEnd()}\n`);
    return 0;
  } catch (error) {
    const reported = error instanceof CniError ? error : await translate(error);
    write(Deno.stdout, `${encodeError(reported, versionOf(input))}\n`);
    return 1;
  }
}

/** @returns the text for standard output */
async function perform(call: PluginCall, input: JsonObject): Promise<string> {
  if (call.command === "VERSION") return encodeVersions(input.cniVersion);
  if (call.command === "STATUS") {
    await status(call, input);
    return "";
  }
  const config = readConfig(input, call.command);
  if (call.command === "ADD") checkNamespace(call.netns);
  const { builtin } = config;
  switch (call.command) {
    case "ADD":
      return builtin === undefined
        ? await addByDelegate(call, config)
        : await (await loadBuiltin()).addBuiltin(call, config, builtin);
    case "DEL":
      await remove(call, config);
      return "";
    case "CHECK":
      if (builtin === undefined) await checkByDelegate(call, config);
      else (await loadBuiltin()).checkBuiltin(call, config, builtin);
      return "";
    case "GC":
      if (builtin === undefined) await collectByDelegate(call, config);
      else await (await loadBuiltin()).collectBuiltin(config, builtin);
      return "";
  }
}

/** Loads what reaches the kernel, which delegates do without. */
async function loadBuiltin() {
  return await import("./builtin/builtin.ts");
}

/** Deletes by the mode that added: the operator may have changed the configuration meanwhile. */
async function remove(call: PluginCall, config: PluginConfig): Promise<void> {
  const wasDelegated = await deleteByDelegate(call, config);
  const { builtin, name } = config;
  const leaseDir = builtin?.leaseDir ?? LEASE_DIRECTORY;
  if (builtin === undefined && (wasDelegated || !hasLeases(leaseDir, name))) return;
  await (await loadBuiltin()).deleteBuiltin(call, name, leaseDir);
}

function hasLeases(leaseDir: string, name: string): boolean {
  try {
    return Deno.statSync(`${leaseDir}/${name}.json`).isFile;
  } catch {
    return false;
  }
}

async function status(call: PluginCall, input: JsonObject): Promise<void> {
  const config = readConfig(input, "STATUS");
  try {
    await statusOf(call, config);
  } catch (error) {
    if (!(error instanceof CniError)) throw error;
    throw new CniError(Code.NOT_AVAILABLE, error.message, error.details, { cause: error });
  }
}

async function statusOf(call: PluginCall, config: PluginConfig): Promise<void> {
  const { builtin } = config;
  if (builtin === undefined) await statusOfDelegate(call, config);
  else (await loadBuiltin()).statusBuiltin(config, builtin);
}

/**
 * Checks the container's network namespace before anything is made for it.
 *
 * @throws {CniError} 3 when there is none; 8 when it is the host's
 */
function checkNamespace(netns: string): void {
  let found: Deno.FileInfo;
  try {
    found = Deno.statSync(netns);
  } catch (error) {
    throw new CniError(
      Code.UNKNOWN_CONTAINER,
      `no network namespace ${JSON.stringify(netns)}`,
      undefined,
      { cause: error },
    );
  }
  const own = Deno.statSync("/proc/self/ns/net");
  if (found.ino === own.ino && found.dev === own.dev) {
    throw new CniError(Code.INVALID_NAMESPACE, `${netns} is the host's network namespace`);
  }
}

async function translate(error: unknown): Promise<CniError> {
  const { SysError } = await import("../sys/ffi/errno.ts");
  if (error instanceof SysError) return new CniError(Code.KERNEL_REFUSED, error.message);
  const message = error instanceof Error ? error.message : String(error);
  return new CniError(Code.DEFECT, `a defect of flanneld, please report it: ${message}`);
}

function versionOf(input: JsonObject | undefined): string {
  return SUPPORTED_VERSIONS.find((version) => version === input?.cniVersion) ?? LATEST_VERSION;
}

/** A configuration has some kilobytes; a stream without an end must not fill the memory. */
const MAX_INPUT_BYTES = 4 * 1024 * 1024;

function readStandardInput(): string {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for (;;) {
    const chunk = new Uint8Array(64 * 1024);
    const count = Deno.stdin.readSync(chunk);
    if (count === null) break;
    length += count;
    if (length > MAX_INPUT_BYTES) {
      throw new CniError(Code.DECODING_FAILURE, `standard input exceeds ${MAX_INPUT_BYTES} bytes`);
    }
    chunks.push(chunk.subarray(0, count));
  }
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return new TextDecoder().decode(bytes);
}

function write(stream: { writeSync(bytes: Uint8Array): number }, text: string): void {
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length;) at += stream.writeSync(bytes.subarray(at));
}
