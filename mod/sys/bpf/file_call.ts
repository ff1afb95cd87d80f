import { SysError } from "../ffi/errno.ts";

/**
 * Runs a step on files and turns its errors into those of the system call that failed: a caller then handles
 * a refusal of the file system like one of the kernel.
 *
 * @param call the system call's name
 * @param path what it is about
 * @throws {SysError} for what the operating system refuses
 */
export function fileCall<T>(call: string, path: string, step: () => T): T {
  try {
    return step();
  } catch (error) {
    // The runtime has classes for some numbers only, and which ones changes from version to version.
    const number = error instanceof Error && /\(os error (\d+)\)/.exec(error.message)?.[1];
    if (!number) throw error;
    throw new SysError(call, Number(number), { subject: path, cause: error });
  }
}
