import { CniError, Code } from "./errors.ts";
import { type Command, COMMANDS } from "./version.ts";

/** The environment of a call. Variables that the command does not need may be empty. */
export interface PluginCall {
  readonly command: Command;
  readonly containerID: string;
  /** Path of the container's network namespace. */
  readonly netns: string;
  /** Name of the interface in the container. */
  readonly ifname: string;
  /** Directories with plugins. */
  readonly path: readonly string[];
}

/** Returns the value of a variable. */
export type Lookup = (name: string) => string | undefined;

/** Names of containers and of networks, by the specification. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]*$/;

/** Variables that must be set, by command. */
const REQUIRED: Record<Command, readonly string[]> = {
  ADD: ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"],
  // A container's namespace may be gone before DEL.
  DEL: ["CNI_CONTAINERID", "CNI_IFNAME"],
  CHECK: ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"],
  GC: [],
  STATUS: [],
  VERSION: [],
};

/**
 * Reads the environment of a call.
 *
 * @throws {CniError} 4 when a variable is missing or invalid
 */
export function readCall(lookup: Lookup): PluginCall {
  const value = (name: string) => lookup(name) ?? "";
  const command = COMMANDS.find((command) => command === value("CNI_COMMAND"));
  if (command === undefined) {
    throw invalid(
      `unknown CNI_COMMAND ${JSON.stringify(value("CNI_COMMAND"))}`,
      `expected ${COMMANDS.join(", ")}`,
    );
  }
  const missing = REQUIRED[command].filter((name) => value(name) === "");
  if (missing.length > 0) throw invalid(`${command} needs ${missing.join(", ")}`);
  const containerID = value("CNI_CONTAINERID");
  if (containerID !== "" && !isName(containerID)) {
    throw invalid(
      `invalid CNI_CONTAINERID ${JSON.stringify(containerID)}`,
      "expected letters, digits, '_', '.' and '-', and a letter or digit first",
    );
  }
  const ifname = value("CNI_IFNAME");
  if (ifname !== "" && !isInterfaceName(ifname)) {
    throw invalid(
      `invalid CNI_IFNAME ${JSON.stringify(ifname)}`,
      "expected 1 to 15 bytes without '/', ':' and white space",
    );
  }
  return {
    ...{ command, containerID, ifname, netns: value("CNI_NETNS") },
    path: value("CNI_PATH").split(":").filter((directory) => directory !== ""),
  };
}

/** Returns whether the text can name a container or a network. */
export function isName(text: string): boolean {
  return NAME.test(text);
}

/** As the kernel's dev_valid_name(), and printable. */
export function isInterfaceName(text: string): boolean {
  return text !== "." && text !== ".." && new TextEncoder().encode(text).length <= 15 &&
    /^[^\s/:\p{C}]+$/u.test(text);
}

function invalid(message: string, details?: string): CniError {
  return new CniError(Code.INVALID_ENVIRONMENT, message, details);
}
