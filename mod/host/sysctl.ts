/**
 * Kernel parameters, as proc(5) has them under `/proc/sys`.
 *
 * Names are written with slashes, which sysctl(8) takes too: dots would cut
 * `net/ipv6/conf/flannel.1/accept_ra` in the wrong places. Those under `net/` are those of the
 * calling process's network namespace.
 *
 * @module
 */

/** Options of the functions here; for tests. */
export interface SysctlOptions {
  /** @default "/proc/sys" */
  readonly root?: string;
}

/** A kernel parameter that could not be read or set. */
export class SysctlError extends Error {
  override readonly name = "SysctlError";

  /**
   * @param parameter name with slashes
   * @param value what it was to be set to; absent when it was to be read
   */
  constructor(readonly parameter: string, value: string | undefined, cause: unknown) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    const action = value === undefined
      ? `read sysctl ${parameter}`
      : `set sysctl ${parameter} to ${value}`;
    super(`cannot ${action}: ${reason}`, { cause });
  }
}

/**
 * Reads a parameter.
 *
 * @param parameter for example `net/ipv4/ip_forward`
 * @returns its value without the line feed; `undefined` when this kernel does not have it
 * @throws {SysctlError} when it exists and cannot be read
 */
export function readSysctl(
  parameter: string,
  { root = "/proc/sys" }: SysctlOptions = {},
): string | undefined {
  try {
    return Deno.readTextFileSync(`${root}/${parameter}`).trimEnd();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw new SysctlError(parameter, undefined, error);
  }
}

/**
 * Sets a parameter; one that already has the value is left alone, so that a read-only `/proc/sys`
 * is no obstacle where nothing needs to change.
 *
 * @returns true when it was changed
 * @throws {SysctlError} when it cannot be set, or this kernel does not have it
 */
export function writeSysctl(
  parameter: string,
  value: string | number,
  options: SysctlOptions = {},
): boolean {
  const { root = "/proc/sys" } = options;
  const text = String(value);
  if (readSysctl(parameter, options) === text) return false;
  try {
    Deno.writeTextFileSync(`${root}/${parameter}`, text, { create: false });
    return true;
  } catch (error) {
    throw new SysctlError(parameter, text, error);
  }
}
