import { Errno, SysError, type SysErrorOptions } from "../ffi/errno.ts";
import { errno, libc } from "../ffi/libc.ts";
import { Command, type CommandName } from "./constants.ts";

/** bpf(2)'s number (asm/unistd_64.h; asm-generic/unistd.h). */
const SYSCALL_NUMBERS: Readonly<Record<string, number>> = { x86_64: 321, aarch64: 280 };

/** RLIMIT_MEMLOCK of asm-generic/resource.h. */
const RLIMIT_MEMLOCK = 8;

/** `struct rlimit`, soft and hard limit: RLIM_INFINITY both. */
const UNLIMITED = new Uint8Array(16).fill(0xff);

let hasRaisedLimit = false;

/**
 * bpf(2). Before Linux 5.11 maps and programs count as locked memory, of which a process that systemd or a shell
 * starts has 64 KiB: an EPERM raises the limit of this process once, and the call is made again.
 *
 * @param attributes `union bpf_attr`, off V8's heap; pointers in it are an arena's
 * @returns a descriptor, or 0
 * @throws {SysError} named after the command: EPERM without CAP_BPF (or CAP_SYS_ADMIN), EINVAL for
 * what this kernel does not know
 */
export function bpf(
  command: CommandName,
  attributes: Uint8Array<ArrayBuffer>,
  options?: SysErrorOptions,
): number {
  let result = tryBpf(command, attributes);
  if (result === -1) {
    let number = errno();
    if (number === Errno.EPERM && !hasRaisedLimit) {
      hasRaisedLimit = true;
      // Without the privilege for it, the second call fails as the first did.
      libc().setrlimit(RLIMIT_MEMLOCK, UNLIMITED);
      result = tryBpf(command, attributes);
      number = errno();
    }
    if (result === -1) throw new SysError(command, number, options);
  }
  return result;
}

/** bpf(2), without an exception: -1 and errno. For what is expected to fail now and then. */
export function tryBpf(command: CommandName, attributes: Uint8Array<ArrayBuffer>): number {
  const number = SYSCALL_NUMBERS[Deno.build.arch]!;
  return libc().syscall(number, Command[command], attributes, attributes.length);
}

/** Longest name of a program or map, without its NUL (linux/bpf.h, BPF_OBJ_NAME_LEN). */
const NAME_LENGTH = 15;

/** An object's name as the kernel keeps it. */
export function objectName(name: string): Uint8Array {
  return new TextEncoder().encode(name).subarray(0, NAME_LENGTH);
}
