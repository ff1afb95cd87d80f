import { CniError, Code } from "./errors.ts";

/** Versions of the specification that the plugin implements, from old to new. */
export const SUPPORTED_VERSIONS = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] as const;

/** A supported version. */
export type CniVersion = (typeof SUPPORTED_VERSIONS)[number];

/** The newest. */
export const LATEST_VERSION: CniVersion = "1.1.0";

/** Commands of CNI_COMMAND. */
export const COMMANDS = ["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION"] as const;

/** A value of CNI_COMMAND. */
export type Command = (typeof COMMANDS)[number];

/** The version that introduced a command. */
const INTRODUCED: Partial<Record<Command, CniVersion>> = {
  CHECK: "0.4.0",
  GC: "1.1.0",
  STATUS: "1.1.0",
};

/** Returns whether a version is another one, or newer. */
export function isAtLeast(version: CniVersion, other: CniVersion): boolean {
  return SUPPORTED_VERSIONS.indexOf(version) >= SUPPORTED_VERSIONS.indexOf(other);
}

/**
 * Checks the `cniVersion` of a configuration.
 *
 * @param value as decoded; a configuration without it is of 0.1.0
 * @throws {CniError} 1 for a version that is not supported, or has no such command
 */
export function readVersion(value: unknown, command: Command): CniVersion {
  const version = value === undefined || value === "" ? "0.1.0" : value;
  const found = SUPPORTED_VERSIONS.find((supported) => supported === version);
  if (found === undefined) {
    throw new CniError(
      Code.INCOMPATIBLE_VERSION,
      `unsupported cniVersion ${JSON.stringify(version)}`,
      `supported: ${SUPPORTED_VERSIONS.join(", ")}`,
    );
  }
  const introduced = INTRODUCED[command];
  if (introduced !== undefined && !isAtLeast(found, introduced)) {
    throw new CniError(
      Code.INCOMPATIBLE_VERSION,
      `cniVersion ${found} has no ${command}`,
      `set cniVersion to ${introduced} or newer`,
    );
  }
  return found;
}

/** Returns the answer to VERSION. @param version of the request */
export function encodeVersions(version: unknown): string {
  const cniVersion = SUPPORTED_VERSIONS.find((supported) => supported === version);
  return JSON.stringify({
    cniVersion: cniVersion ?? LATEST_VERSION,
    supportedVersions: SUPPORTED_VERSIONS,
  });
}
