import type { JsonValue } from "../lease/lease.ts";
import { parseGoJson } from "../lease/go_json.ts";
import { type BuiltinOptions, readBuiltin } from "./builtin/options.ts";
import { isName } from "./call.ts";
import { CniError, Code } from "./errors.ts";
import { isObject, type JsonObject, reasonOf } from "./json.ts";
import { type CniVersion, type Command, readVersion } from "./version.ts";

/** Default of `subnetFile`; flanneld writes it. */
export const SUBNET_FILE = "/run/flannel/subnet.env";
/** Default of `dataDir`, upstream flannel's. */
const DATA_DIRECTORY = "/var/lib/cni/flannel";

/** A container's interface. */
export interface Attachment {
  readonly containerID: string;
  readonly ifname: string;
}

/** A network configuration, checked. */
export interface PluginConfig {
  readonly cniVersion: CniVersion;
  readonly name: string;
  readonly subnetFile: string;
  /** Directory of the delegates' configurations. */
  readonly dataDir: string;
  /** Members for the delegate, besides those that the plugin determines. */
  readonly delegate: JsonObject;
  /** Members of the delegate's `ipam`. */
  readonly ipam: JsonObject;
  readonly runtimeConfig?: JsonObject;
  /** The result of ADD, for CHECK. */
  readonly prevResult?: JsonObject;
  /** Attachments that GC keeps. */
  readonly validAttachments: readonly Attachment[];
  /** Present when the plugin does without a delegate. */
  readonly builtin?: BuiltinOptions;
  /** The result's `dns`, without a delegate. */
  readonly dns: JsonObject;
}

/**
 * Parses the standard input.
 *
 * @throws {CniError} 6 when it is not a JSON object
 */
export function parseInput(text: string): JsonObject {
  let value: JsonValue;
  try {
    value = parseGoJson(text);
  } catch (error) {
    throw new CniError(
      Code.DECODING_FAILURE,
      "the network configuration on standard input is not JSON",
      text.trim() === "" ? "standard input is empty" : reasonOf(error),
    );
  }
  if (isObject(value)) return value;
  throw new CniError(Code.DECODING_FAILURE, "the network configuration is not a JSON object");
}

/**
 * Checks a network configuration.
 *
 * @throws {CniError} 1, 2 or 7
 */
export function readConfig(input: JsonObject, command: Command): PluginConfig {
  const cniVersion = readVersion(input.cniVersion, command);
  const name = text(input, "name", "");
  if (!isName(name)) {
    throw invalid(
      name === "" ? "name is missing" : `invalid name ${JSON.stringify(name)}`,
      "name the network: letters, digits, '_', '.' and '-', and a letter or digit first",
    );
  }
  const delegate = object(input, "delegate");
  for (const member of ["name", "ipam"]) {
    if (delegate?.[member] === undefined) continue;
    throw invalid(
      `'delegate' must not have ${member}`,
      member === "ipam" ? "write ipam beside delegate" : "the plugin passes the network's name on",
    );
  }
  const builtin = object(input, "builtin");
  if (builtin !== undefined && delegate !== undefined) {
    throw invalid("builtin and delegate exclude each other", "remove one of them");
  }
  if (builtin !== undefined && input.ipam !== undefined) {
    throw invalid("builtin and ipam exclude each other", "builtin leases the addresses itself");
  }
  const runtimeConfig = object(input, "runtimeConfig");
  const prevResult = object(input, "prevResult");
  if (command === "CHECK" && prevResult === undefined) {
    throw invalid("prevResult is missing", "CHECK needs the result of ADD");
  }
  return {
    cniVersion,
    name,
    subnetFile: path(input, "subnetFile", SUBNET_FILE),
    dataDir: path(input, "dataDir", DATA_DIRECTORY),
    delegate: delegate ?? {},
    ipam: object(input, "ipam") ?? {},
    ...runtimeConfig === undefined ? {} : { runtimeConfig },
    ...prevResult === undefined ? {} : { prevResult },
    validAttachments: command === "GC" ? attachments(input) : [],
    ...builtin === undefined ? {} : { builtin: readBuiltin(builtin) },
    dns: object(input, "dns") ?? {},
  };
}

const ATTACHMENTS = "cni.dev/valid-attachments";

/** GC without the list would remove every container's network. */
function attachments(input: JsonObject): Attachment[] {
  const list = input[ATTACHMENTS];
  if (!Array.isArray(list)) {
    throw invalid(`${ATTACHMENTS} is missing or no list`, "GC needs the attachments to keep");
  }
  return list.map((entry) => {
    if (isObject(entry)) {
      const { containerID, ifname } = entry;
      if (typeof containerID === "string" && typeof ifname === "string") {
        return { containerID, ifname };
      }
    }
    throw invalid(`${ATTACHMENTS} has an entry without containerID or ifname`);
  });
}

function object(input: JsonObject, key: string): JsonObject | undefined {
  const value = input[key];
  if (value === undefined || value === null) return undefined;
  if (isObject(value)) return value;
  throw invalid(`${key} is not an object`);
}

function text(input: JsonObject, key: string, fallback: string): string {
  const value = input[key];
  if (value === undefined || value === null || value === "") return fallback;
  if (typeof value === "string") return value;
  throw invalid(`${key} is not a string`);
}

function path(input: JsonObject, key: string, fallback: string): string {
  const value = text(input, key, fallback);
  if (value.startsWith("/") && !value.includes("\0")) return value;
  throw invalid(`${key} is not an absolute path: ${JSON.stringify(value)}`);
}

function invalid(message: string, details?: string): CniError {
  return new CniError(Code.INVALID_CONFIG, message, details);
}
