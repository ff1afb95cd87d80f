import type { PluginCall } from "../call.ts";
import type { Attachment, PluginConfig } from "../config.ts";
import { CniError, Code } from "../errors.ts";
import type { JsonValue } from "../../lease/lease.ts";
import { encodeSorted, isObject, type JsonObject } from "../json.ts";
import { readSubnetFile } from "../subnet_file.ts";
import { delegateConfig, typeOf, withGateways } from "./delegate_config.ts";
import { leasedAttachments } from "./host_local.ts";
import { findPlugin, runDelegate } from "./run_plugin.ts";
import {
  listSavedConfigs,
  readSavedConfig,
  removeSavedConfig,
  saveConfig,
} from "./saved_config.ts";

/** The version before 1.1.0, of whose commands plugins without 1.1.0 have all but GC and STATUS. */
const FALLBACK_VERSION = "1.0.0";

/**
 * Connects a container by the delegate. When that fails, the delegate is called to remove what it made.
 *
 * @returns the delegate's result
 * @throws {CniError}
 */
export async function addByDelegate(call: PluginCall, config: PluginConfig): Promise<string> {
  const { dataDir } = config;
  let generated = delegateConfig(config, readSubnetFile(config.subnetFile));
  const plugin = findPlugin(typeOf(generated), call.path);
  const previous = readSavedConfig(dataDir, call.containerID);
  const run = (version = generated.cniVersion!) => {
    generated = { ...generated, cniVersion: version };
    const text = encodeSorted(generated);
    // Before the call: DEL needs it, however the call ends.
    saveConfig(dataDir, call.containerID, text);
    return runDelegate(plugin, text, call);
  };
  try {
    const result = await run().catch((error) => {
      if (!isTooNew(error, generated)) throw error;
      return run(FALLBACK_VERSION);
    });
    return generated.cniVersion === config.cniVersion ? result : upgradeResult(result, config);
  } catch (error) {
    // A second ADD of a container fails; the first one's network stays.
    if (previous !== undefined) saveConfig(dataDir, call.containerID, previous);
    else await undo(call, plugin, generated, config);
    throw error;
  }
}

async function undo(
  call: PluginCall,
  plugin: string,
  generated: JsonObject,
  { dataDir }: PluginConfig,
): Promise<void> {
  try {
    await runEither(plugin, generated, { ...call, command: "DEL" });
    removeSavedConfig(dataDir, call.containerID);
  } catch {
    // The error of ADD is the one to report. The saved configuration is left for the runtime's DEL and for GC.
  }
}

/**
 * Disconnects a container by the delegate that connected it.
 *
 * @returns false when no delegate did
 * @throws {CniError}
 */
export async function deleteByDelegate(call: PluginCall, config: PluginConfig): Promise<boolean> {
  const saved = readSavedConfig(config.dataDir, call.containerID);
  if (saved === undefined) return false;
  const generated = parseSaved(saved) ?? regenerate(config);
  if (generated !== undefined) {
    const plugin = findPlugin(typeOf(generated), call.path);
    await runEither(plugin, generated, { ...call, command: "DEL" });
  }
  removeSavedConfig(config.dataDir, call.containerID);
  return true;
}

/** Checks a container's network by the delegate. @throws {CniError} */
export async function checkByDelegate(call: PluginCall, config: PluginConfig): Promise<void> {
  const saved = readSavedConfig(config.dataDir, call.containerID);
  const generated = saved === undefined ? undefined : parseSaved(saved);
  if (generated === undefined) {
    throw new CniError(
      Code.DAMAGED,
      `the configuration of container ${call.containerID} is not in ${config.dataDir}`,
      "delete the container's network and add it again",
    );
  }
  const plugin = findPlugin(typeOf(generated), call.path);
  const prevResult = withGateways(config.prevResult ?? {});
  await runEither(plugin, { ...generated, prevResult }, call);
}

/**
 * Deletes the attachments of this network that are not listed as valid, and has the delegate collect its garbage.
 *
 * @throws {CniError} of the first deletion that fails, after the others
 */
export async function collectByDelegate(call: PluginCall, config: PluginConfig): Promise<void> {
  const failures: unknown[] = [];
  const valid = new Set(config.validAttachments.map(({ containerID }) => containerID));
  for (const containerID of listSavedConfigs(config.dataDir)) {
    if (valid.has(containerID)) continue;
    const generated = parseSaved(readSavedConfig(config.dataDir, containerID) ?? "");
    if (generated?.name !== config.name) continue;
    try {
      for (const { ifname } of attachmentsOf(containerID, generated)) {
        // The container's namespace is not known, and gone as a rule.
        await deleteByDelegate({ ...call, containerID, ifname, netns: "" }, config);
      }
    } catch (error) {
      failures.push(error);
    }
  }
  await collectOfDelegate(call, config).catch((error) => failures.push(error));
  if (failures.length > 0) throw failures[0];
}

function attachmentsOf(containerID: string, generated: JsonObject): Attachment[] {
  const found = leasedAttachments(generated).filter((lease) => lease.containerID === containerID);
  return found.length > 0 ? found : [{ containerID, ifname: "eth0" }];
}

/** Passes GC on to a delegate that knows it. */
async function collectOfDelegate(call: PluginCall, config: PluginConfig): Promise<void> {
  let generated: JsonObject;
  try {
    generated = delegateConfig(config, readSubnetFile(config.subnetFile));
  } catch (error) {
    // Without a lease there is no configuration to pass on.
    if (error instanceof CniError && error.code === Code.TRY_AGAIN) return;
    throw error;
  }
  const attachments = config.validAttachments.map((attachment) => ({ ...attachment }));
  const input = encodeSorted({ ...generated, "cni.dev/valid-attachments": attachments });
  await passOn(findPlugin(typeOf(generated), call.path), input, call);
}

/**
 * Returns normally when the delegate can connect containers.
 *
 * @throws {CniError} 50
 */
export async function statusOfDelegate(call: PluginCall, config: PluginConfig): Promise<void> {
  const generated = delegateConfig(config, readSubnetFile(config.subnetFile));
  const types = [typeOf(generated), typeOf(generated.ipam as JsonObject)];
  const [plugin] = types.map((type) => findPlugin(type, call.path));
  await passOn(plugin!, encodeSorted(generated), call);
}

/** Calls a delegate with a command of 1.1.0, which older ones refuse. */
async function passOn(plugin: string, input: string, call: PluginCall): Promise<void> {
  try {
    await runDelegate(plugin, input, call);
  } catch (error) {
    const unknown: number[] = [Code.INCOMPATIBLE_VERSION, Code.INVALID_ENVIRONMENT];
    if (!(error instanceof CniError && unknown.includes(error.code))) throw error;
  }
}

/** Calls a delegate, with an older version where it does not have the configuration's. */
async function runEither(plugin: string, generated: JsonObject, call: PluginCall): Promise<void> {
  try {
    await runDelegate(plugin, encodeSorted(withVersion(generated, generated.cniVersion)), call);
  } catch (error) {
    if (!isTooNew(error, generated)) throw error;
    await runDelegate(plugin, encodeSorted(withVersion(generated, FALLBACK_VERSION)), call);
  }
}

/** The result of ADD is of the configuration's version. */
function withVersion(generated: JsonObject, cniVersion: JsonValue = null): JsonObject {
  const { prevResult } = generated;
  if (!isObject(prevResult)) return { ...generated, cniVersion };
  return { ...generated, cniVersion, prevResult: { ...prevResult, cniVersion } };
}

function isTooNew(error: unknown, { cniVersion }: JsonObject): boolean {
  return cniVersion === "1.1.0" && error instanceof CniError &&
    error.code === Code.INCOMPATIBLE_VERSION;
}

/** A result of 1.0.0 is one of 1.1.0 besides its version. */
function upgradeResult(result: string, { cniVersion }: PluginConfig): string {
  try {
    return JSON.stringify({ ...JSON.parse(result), cniVersion });
  } catch (error) {
    throw new CniError(Code.DELEGATE_FAILED, "the delegate printed no result", result.trim(), {
      cause: error,
    });
  }
}

/** Returns `undefined` for a file that a killed call of another plugin left incomplete. */
function parseSaved(text: string): JsonObject | undefined {
  try {
    const value = JSON.parse(text);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function regenerate(config: PluginConfig): JsonObject | undefined {
  try {
    return delegateConfig(config, readSubnetFile(config.subnetFile));
  } catch {
    return undefined;
  }
}
