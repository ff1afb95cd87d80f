import { Errno, SysError } from "./ffi/errno.ts";
import { closeDescriptor, cString, libc, unwrap } from "./ffi/libc.ts";
import { O_CLOEXEC } from "./linux_constants.ts";

/**
 * asm-generic/fcntl.h: O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC. Without the last, a child process that
 * outlives this one would keep the lock.
 */
const OPEN_FLAGS = 0o2 | 0o100 | 0o400000 | O_CLOEXEC;

/** asm-generic/fcntl.h: LOCK_EX | LOCK_NB. */
const LOCK_NOW = 2 | 4;

/** asm-generic/fcntl.h. */
const LOCK_UN = 8;

/** Mode of a lock file. Any process that can open the file, even only for reading, can hold flock(2) on it. */
const MODE = 0o600;

/**
 * An exclusive lock on a file, flock(2). The kernel releases it however its holder ends, so none is ever
 * stale. The file stays and means nothing by itself.
 */
export class FileLock implements Disposable {
  readonly path: string;
  #fd: number | undefined;

  private constructor(path: string, fd: number) {
    this.path = path;
    this.#fd = fd;
  }

  /**
   * Takes the lock if no process has it. The file is created when it is missing; its mode becomes 0600, also
   * where an older version made it readable by everyone.
   *
   * @returns `undefined` when a process has it, this one included
   * @throws {SysError} when the file cannot be opened: ENOENT without its directory, ELOOP when it
   * is a symbolic link
   */
  static tryAcquire(path: string): FileLock | undefined {
    for (;;) {
      const fd = unwrap("open", libc().open(cString(path), OPEN_FLAGS, MODE), path);
      try {
        makePrivate(fd, path);
        unwrap("flock", libc().flock(fd, LOCK_NOW), path);
      } catch (error) {
        closeDescriptor(fd);
        if (error instanceof SysError && error.errno === Errno.EAGAIN) return undefined;
        throw error;
      }
      // Between open and flock the holder may have removed the file, and a lock on a removed file excludes
      // nobody.
      if (isSameFile(`/proc/self/fd/${fd}`, path)) return new FileLock(path, fd);
      closeDescriptor(fd);
    }
  }

  /** Releases the lock. Calling it again does nothing. */
  [Symbol.dispose](): void {
    if (this.#fd === undefined) return;
    // Closing is not enough: a child that another thread has forked holds a copy of the descriptor
    // until it calls execve.
    unwrap("flock", libc().flock(this.#fd, LOCK_UN), this.path);
    closeDescriptor(this.#fd);
    this.#fd = undefined;
  }
}

/** @throws {SysError} when the mode cannot be changed; a file of another user stays as it is */
function makePrivate(fd: number, path: string): void {
  try {
    unwrap("fchmod", libc().fchmod(fd, MODE), path);
  } catch (error) {
    if (!(error instanceof SysError && error.errno === Errno.EPERM)) throw error;
  }
}

function isSameFile(a: string, b: string): boolean {
  try {
    const [one, other] = [Deno.statSync(a), Deno.statSync(b)];
    return one.ino === other.ino && one.dev === other.dev;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
