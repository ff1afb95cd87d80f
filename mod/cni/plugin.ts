import { VERSION } from "../version.ts";
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
import { CniError, Code, encodeError, toCniError } from "./errors.ts";
import type { JsonObject } from "./json.ts";
import { checkNamespace } from "./namespace.ts";
import { readStandardInput, write } from "./standard_streams.ts";
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
    // A person runs it, or Nomad, which reads the version. The reference plugins write this form.
    write(
      Deno.stderr,
      `CNI flannel plugin v${VERSION} of flanneld\n` +
        `CNI protocol versions supported: ${SUPPORTED_VERSIONS.join(", ")}\n`,
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
    write(Deno.stdout, `${encodeError(await toCniError(error), versionOf(input))}\n`);
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

function versionOf(input: JsonObject | undefined): string {
  return SUPPORTED_VERSIONS.find((version) => version === input?.cniVersion) ?? LATEST_VERSION;
}
