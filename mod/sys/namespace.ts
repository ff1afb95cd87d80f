import { closeDescriptor, cString, libc, unwrap } from "./ffi/libc.ts";

/** linux/sched.h */
const CLONE_NEWNET = 0x40000000;
/** asm-generic/fcntl.h: O_RDONLY | O_CLOEXEC. */
const O_RDONLY_CLOEXEC = 0o2000000;

/**
 * Runs `body` with this thread in another network namespace, and returns to the present one.
 *
 * A namespace belongs to a thread (setns(2)), a socket to the namespace it was made in. So `body`
 * opens what it needs and returns: it must be synchronous, or other tasks of this thread would run in
 * the wrong namespace.
 *
 * @param path of the namespace, `/run/netns/NAME` or `/proc/PID/ns/net`; `undefined` stays here
 * @param body runs inside; its result is returned
 * @throws {SysError} when the namespace cannot be entered (ENOENT, EPERM)
 * @throws {TypeError} when `body` returns a promise
 */
export function inNetworkNamespace<T>(path: string | undefined, body: () => T): T {
  if (path === undefined) return body();
  const target = unwrap("open", libc().open(cString(path), O_RDONLY_CLOEXEC, 0), path);
  // Not /proc/self: that is the main thread, and a worker is another one.
  const home = openOrClose("/proc/thread-self/ns/net", target);
  try {
    unwrap("setns", libc().setns(target, CLONE_NEWNET), path);
    try {
      const result = body();
      if (result instanceof Promise) throw new TypeError("body must be synchronous");
      return result;
    } finally {
      unwrap("setns", libc().setns(home, CLONE_NEWNET), "back to the own namespace");
    }
  } finally {
    closeDescriptor(home);
    closeDescriptor(target);
  }
}

/**
 * Runs `body` with a descriptor of a network namespace, which it must not keep. `body` is synchronous.
 *
 * @throws {SysError} ENOENT when there is no such file
 */
export function withNamespaceDescriptor<T>(path: string, body: (fd: number) => T): T {
  const fd = unwrap("open", libc().open(cString(path), O_RDONLY_CLOEXEC, 0), path);
  try {
    return body(fd);
  } finally {
    closeDescriptor(fd);
  }
}

function openOrClose(path: string, other: number): number {
  try {
    return unwrap("open", libc().open(cString(path), O_RDONLY_CLOEXEC, 0), path);
  } catch (error) {
    closeDescriptor(other);
    throw error;
  }
}
