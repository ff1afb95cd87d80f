import { Errno } from "./ffi/errno.ts";
import { errno, libc } from "./ffi/libc.ts";

/** getrandom(2)'s number (asm/unistd_64.h; asm-generic/unistd.h). */
const SYSCALL_NUMBERS: Readonly<Record<string, number>> = { x86_64: 318, aarch64: 278 };

/** Flags that no kernel knows: a kernel that has the call answers EINVAL before it does anything. */
const NO_FLAGS = 0xffffffff;

/** The runtime would end with a panic at its first random number. */
export class RandomSourceError extends Error {
  override readonly name = "RandomSourceError";
}

/**
 * Makes sure that the runtime can have random numbers: from getrandom(2) or, on kernels older than 3.17, from
 * /dev/random, which the runtime waits for before it reads /dev/urandom.
 *
 * @throws {RandomSourceError} when the kernel has no getrandom(2) and the device is missing
 */
export function requireRandomSource(device = "/dev/random"): void {
  try {
    Deno.statSync(device);
    return;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  const result = libc().syscall(
    SYSCALL_NUMBERS[Deno.build.arch]!,
    0,
    new Uint8Array(new ArrayBuffer(64)),
    NO_FLAGS,
  );
  if (result !== -1 || errno() !== Errno.ENOSYS) return;
  throw new RandomSourceError(
    `this kernel has no getrandom(2), and ${device} is missing: mount devtmpfs on /dev, ` +
      `or run mknod -m 666 ${device} c 1 8`,
  );
}
