import { dirname } from "node:path/posix";
import { makeDirectory } from "../../export/atomic_file.ts";
import { ExportError } from "../../export/errors.ts";
import { describeHolder, FileLock, findLockHolder, type LockHolder } from "../../sys/mod.ts";

/** Another process holds the lock of the subnet file. The message is one line. */
export class AlreadyRunningError extends Error {
  override readonly name = "AlreadyRunningError";

  /** @param holder the other process, if it is visible */
  constructor(readonly holder: LockHolder | undefined, subnetFile: string) {
    super(`${describeHolder(holder)} holds the lock of subnet file ${subnetFile}: stop it first`);
  }
}

/** Returns the path of a subnet file's lock. */
export function hostLockPath(subnetFile: string): string {
  return `${subnetFile}.lock`;
}

/**
 * Locks a subnet file for an agent or a clean-up. The kernel releases the lock when the process ends.
 *
 * @throws {AlreadyRunningError} when another process holds it
 * @throws {ExportError} when the lock file cannot be created
 */
export async function lockHost(subnetFile: string): Promise<FileLock> {
  const path = hostLockPath(subnetFile);
  try {
    await makeDirectory(dirname(path));
  } catch (cause) {
    throw ExportError.from(
      `cannot create the directory of ${subnetFile} (see -subnet-file, -subnet-dir)`,
      cause,
    );
  }
  const lock = tryLock(path, subnetFile);
  if (lock === undefined) throw new AlreadyRunningError(findLockHolder(path), subnetFile);
  return lock;
}

/**
 * Checks that no process holds the lock of a subnet file. Changes nothing.
 *
 * @throws {AlreadyRunningError} when a process holds it
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

/** Returns whether an agent runs with this subnet file. */
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
