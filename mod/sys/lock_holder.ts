/** A process that holds a lock. */
export interface LockHolder {
  readonly pid: number;
  /** Its command name, as /proc/PID/comm has it. */
  readonly command: string;
}

/**
 * A line of /proc/locks (proc_locks(5)): `1: FLOCK  ADVISORY  WRITE 4711 00:1b:12345 0 EOF`, the device
 * in hexadecimal. A process that waits has `->` before its type and does not match.
 */
const LINE = /^\d+: FLOCK +\S+ +\S+ (\d+) ([0-9a-f]+):([0-9a-f]+):(\d+) /;

/**
 * Finds the process that holds flock(2) on a file.
 *
 * @returns `undefined` when no process holds it, or the holder is not visible: it is in another PID namespace,
 * or has passed the lock to a child and ended
 */
export function findLockHolder(path: string): LockHolder | undefined {
  try {
    const { ino, dev } = Deno.statSync(path);
    const pid = pidOf(Deno.readTextFileSync("/proc/locks"), ino ?? NaN, dev);
    if (pid === undefined) return undefined;
    return { pid, command: Deno.readTextFileSync(`/proc/${pid}/comm`).trimEnd() };
  } catch {
    // The lock was given up meanwhile, or there is no /proc. The holder is only for a message.
    return undefined;
  }
}

/** `flanneld (pid 4711)`, or words for a holder that is not visible. */
export function describeHolder(holder: LockHolder | undefined): string {
  return holder === undefined ? "another process" : `${holder.command} (pid ${holder.pid})`;
}

/** @param device as stat(2) returns it */
export function pidOf(locks: string, inode: number, device: number): number | undefined {
  for (const line of locks.split("\n")) {
    const [, pid, major, minor, number] = LINE.exec(line) ?? [];
    if (pid === undefined || Number(number) !== inode) continue;
    if (makeDevice(parseInt(major!, 16), parseInt(minor!, 16)) === device) return Number(pid);
  }
  return undefined;
}

/** The device number of stat(2), makedev(3): bits 8 to 19 hold a small major, the rest is the minor. */
function makeDevice(major: number, minor: number): number {
  return (minor & 0xff) + (minor >>> 8) * 2 ** 20 + (major & 0xfff) * 2 ** 8;
}
