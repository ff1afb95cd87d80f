import { dirname } from "node:path/posix";
import { makeDirectory } from "../../export/atomic_file.ts";
import { ExportError } from "../../export/errors.ts";
import { describeHolder, FileLock, findLockHolder, type LockHolder } from "../../sys/mod.ts";

/** Another flanneld works on this host for the same subnet file. The message is one line. */
export class AlreadyRunningError extends Error {
  override readonly name = "AlreadyRunningError";

  /** @param holder the other process, where it is visible */
  constructor(readonly holder: LockHolder | undefined, subnetFile: string) {
    super(`${describeHolder(holder)} holds the lock of subnet file ${subnetFile}: stop it first`);
  }
}

/** Where the lock of a subnet file is. */
export function hostLockPath(subnetFile: string): string {
  return `${subnetFile}.lock`;
}

/**
 * Makes this process the only one that works for a subnet file, for as long as it lives or until the
 * lock is disposed: an agent, or a clean-up.
 *
 * @throws {AlreadyRunningError} when another one is
 * @throws {ExportError} when the lock cannot be made
 */
export async function lockHost(subnetFile: string): Promise<FileLock> {
  const path = hostLockPath(subnetFile);
  try {
    await makeDirectory(dirname(path));
  } catch (cause) {
    throw ExportError.from(
      `cannot make the directory of ${subnetFile} (see -subnet-file, -subnet-dir)`,
      cause,
    );
  }
  const lock = tryLock(path, subnetFile);
  if (lock === undefined) throw new AlreadyRunningError(findLockHolder(path), subnetFile);
  return lock;
}

/**
 * Looks whether somebody has the lock, and changes nothing.
 *
 * @throws {AlreadyRunningError} when somebody has
 */
export async function refuseRunning(subnetFile: string): Promise<void> {
  const path = hostLockPath(subnetFile);
  try {
    await Deno.lstat(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return;
    throw error;
  }
  const lock = tryLock(path, subnetFile);
  if (lock === undefined) throw new AlreadyRunningError(findLockHolder(path), subnetFile);
  lock[Symbol.dispose]();
}

/** Whether an agent runs with this subnet file. */
export async function isAgentRunning(subnetFile: string): Promise<boolean> {
  try {
    await refuseRunning(subnetFile);
    return false;
  } catch (error) {
    if (error instanceof AlreadyRunningError) return true;
    throw error;
  }
}

function tryLock(path: string, subnetFile: string): FileLock | undefined {
  try {
    return FileLock.tryAcquire(path);
  } catch (cause) {
    throw ExportError.from(
      `cannot lock the subnet file ${subnetFile} (see -subnet-file, -subnet-dir)`,
      cause,
    );
  }
}
