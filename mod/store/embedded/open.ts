import { basename, dirname } from "node:path/posix";
import { describeHolder, FileLock, findLockHolder, SysError } from "../../sys/mod.ts";
import { EmbeddedFile } from "./file.ts";
import { StoreFileError } from "../errors.ts";

/** Access to a file. */
export interface FileAccess {
  /** The file must be there, and stays as it is. @default false */
  readonly readOnly?: boolean;
  /** Entries expire in this process. @default false */
  readonly owner?: boolean;
}

/** A file of an embedded store, and who else uses it. */
interface Shared {
  readonly file: EmbeddedFile;
  readonly lock: Disposable;
  uses: number;
}

/** Files that this process owns, by path: the networks that it serves share one file. */
const owned = new Map<string, Shared>();

/** A use of a file; the last one closes it. */
export interface FileUse extends Disposable {
  readonly file: EmbeddedFile;
}

/**
 * Opens the file of an embedded store; without `readOnly` it is made where it is missing, and its
 * directory too.
 *
 * An owner is alone: a lock beside the file, which the kernel gives back however its holder ends,
 * keeps a second process out. Others may open the file at any time, to read and to write; the owner
 * sees what they do.
 *
 * @throws {StoreFileError} when the file cannot be used, or has another owner
 * @throws {StoreError} when the host refuses it
 */
export function openFile(path: string, { readOnly = false, owner = false }: FileAccess): FileUse {
  if (!readOnly) makeDirectory(path);
  if (!owner) {
    const file = new EmbeddedFile(path, { readOnly });
    return { file, [Symbol.dispose]: () => file[Symbol.dispose]() };
  }
  const real = `${Deno.realPathSync(dirname(path))}/${basename(path)}`;
  let shared = owned.get(real);
  if (shared === undefined) {
    const lock = lockFile(path);
    try {
      shared = { file: new EmbeddedFile(path, { owner }), lock, uses: 0 };
    } catch (error) {
      lock[Symbol.dispose]();
      throw error;
    }
    owned.set(real, shared);
  }
  shared.uses++;
  return use(real, shared);
}

function use(real: string, shared: Shared): FileUse {
  let isOpen = true;
  return {
    file: shared.file,
    [Symbol.dispose]: () => {
      if (!isOpen) return;
      isOpen = false;
      if (--shared.uses > 0) return;
      owned.delete(real);
      shared.file[Symbol.dispose]();
      shared.lock[Symbol.dispose]();
    },
  };
}

function lockFile(path: string): Disposable {
  const beside = `${path}.lock`;
  try {
    const lock = FileLock.tryAcquire(beside);
    if (lock !== undefined) return lock;
  } catch (cause) {
    if (!(cause instanceof SysError)) throw cause;
    throw new StoreFileError(`cannot lock ${path}: ${cause.message}`, { cause });
  }
  throw new StoreFileError(
    `${path} is in use by ${
      describeHolder(findLockHolder(beside))
    }: stop it, or give this agent a ` +
      "file of its own with -store embedded=PATH",
  );
}

function makeDirectory(path: string): void {
  try {
    Deno.mkdirSync(dirname(path), { recursive: true });
  } catch (cause) {
    throw new StoreFileError(
      `cannot make the directory of ${path}: ${(cause as Error).message}`,
      { cause },
    );
  }
}
