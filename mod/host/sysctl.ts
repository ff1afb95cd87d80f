/**
 * Kernel parameters under `/proc/sys`, see proc(5).
 *
 * Names have slashes, which sysctl(8) accepts as well: dots would split `net/ipv6/conf/flannel.1/accept_ra` in
 * the wrong places. Parameters under `net/` belong to the network namespace of the calling process.
 *
 * @module
 */

/** Options of the functions here; for tests. */
export interface SysctlOptions {
  /** @default "/proc/sys" */
  readonly root?: string;
}

/** A kernel parameter that could not be read. */
export class SysctlError extends Error {
  override readonly name = "SysctlError";

  /** @param parameter name with slashes */
  constructor(readonly parameter: string, cause: unknown) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    super(`cannot read sysctl ${parameter}: ${reason}`, { cause });
  }
}

/**
 * Reads a parameter.
 *
 * @param parameter for example `net/ipv4/ip_forward`
 * @returns the value without the line feed; `undefined` when this kernel lacks the parameter
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
    throw new SysctlError(parameter, error);
  }
}
