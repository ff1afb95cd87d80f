import { dirname } from "node:path/posix";
import { makeDirectory } from "../export/atomic_file.ts";
import { ExportError, reasonOf } from "../export/errors.ts";
import { verbose } from "../observe/log.ts";
import { FileLock } from "../sys/mod.ts";

/** Another flanneld works on this host for the same subnet file. The message is one line. */
export class AlreadyRunningError extends Error {
  override readonly name = "AlreadyRunningError";

  /** @param pid of the other one, where it could be read */
  constructor(readonly pid: number | undefined, subnetFile: string) {
    super(
      `flanneld ${pid === undefined ? "" : `(pid ${pid}) `}is running with subnet file ` +
        `${subnetFile}: stop it first`,
    );
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
  if (lock === undefined) throw new AlreadyRunningError(await holder(path), subnetFile);
  // For people, and for the message above; the lock itself knows no process, and stands on a full disk.
  await Deno.writeTextFile(path, `${Deno.pid}\n`).catch((error: Error) =>
    verbose(1, `${path} does not name this process: ${reasonOf(error)}`)
  );
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
  if (lock === undefined) throw new AlreadyRunningError(await holder(path), subnetFile);
  lock[Symbol.dispose]();
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

async function holder(path: string): Promise<number | undefined> {
  const text = await Deno.readTextFile(path).catch(() => "");
  return /^\d+\n$/.test(text) ? Number(text) : undefined;
}
