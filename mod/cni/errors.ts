/**
 * Codes of errors: below 100 those of the CNI specification 1.1.0, from 100 the plugin's own.
 *
 * | code | meaning |
 * |---|---|
 * | 1 | the configuration's `cniVersion` is not supported, or is too old for the command |
 * | 2 | an unsupported field in the configuration |
 * | 3 | the container does not exist |
 * | 4 | an environment variable is missing or invalid |
 * | 5 | a file could not be read or written |
 * | 6 | the standard input is not JSON |
 * | 7 | an invalid configuration |
 * | 8 | the network namespace is the host's |
 * | 11 | try again later |
 * | 50 | STATUS: no container can be added |
 * | 100 | CHECK: the container's network differs from the result of ADD |
 * | 101 | the subnet has no free address |
 * | 102 | the kernel refused a change |
 * | 103 | a delegate could not run |
 * | 999 | a defect of the plugin |
 */
export const Code = {
  INCOMPATIBLE_VERSION: 1,
  UNSUPPORTED_FIELD: 2,
  UNKNOWN_CONTAINER: 3,
  INVALID_ENVIRONMENT: 4,
  IO_FAILURE: 5,
  DECODING_FAILURE: 6,
  INVALID_CONFIG: 7,
  INVALID_NAMESPACE: 8,
  TRY_AGAIN: 11,
  NOT_AVAILABLE: 50,
  DAMAGED: 100,
  NO_ADDRESS: 101,
  KERNEL_REFUSED: 102,
  DELEGATE_FAILED: 103,
  DEFECT: 999,
} as const;

/** A failure of a plugin call, which the runtime gets as one JSON object. */
export class CniError extends Error {
  override readonly name = "CniError";

  /**
   * @param code of the CNI specification, or one of the plugin's own from 100
   * @param details what to do, or the cause
   */
  constructor(
    readonly code: number,
    message: string,
    readonly details?: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** Returns the error object of the specification, as one line. */
export function encodeError(error: CniError, cniVersion: string): string {
  const { code, message, details } = error;
  return JSON.stringify({
    ...{ cniVersion, code, msg: message },
    ...details === undefined ? {} : { details },
  });
}

/** Returns the error to report for any error of a call. */
export async function toCniError(error: unknown): Promise<CniError> {
  if (error instanceof CniError) return error;
  const { SysError } = await import("../sys/ffi/errno.ts");
  if (error instanceof SysError) return new CniError(Code.KERNEL_REFUSED, error.message);
  const message = error instanceof Error ? error.message : String(error);
  return new CniError(Code.DEFECT, `a defect of flanneld, please report it: ${message}`);
}
