import { Errno, SysError } from "./ffi/errno.ts";

/**
 * True when the host has refused a system call for lack of privileges: EPERM or EACCES, of this program's or
 * the runtime's, also as the cause of the error.
 */
export function isRefusal(error: unknown): boolean {
  for (let at = error; at instanceof Error; at = at.cause) {
    if (at instanceof SysError ? isRefusalNumber(at.errno) : isDenied(at)) return true;
  }
  return false;
}

function isRefusalNumber(errno: number): boolean {
  return errno === Errno.EPERM || errno === Errno.EACCES;
}

function isDenied(error: Error): boolean {
  // Older runtimes have another class for EPERM.
  return error instanceof Deno.errors.PermissionDenied ||
    /\(os error (1|13)\)/.test(error.message);
}
