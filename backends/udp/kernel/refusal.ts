import { BpfError } from "../../../mod/sys/bpf/mod.ts";
import { Errno, SysError } from "../../../mod/sys/mod.ts";
import { UnsuitableError } from "./errors.ts";

/** Error of a step of the kernel path. */
export type Refusal = SysError | BpfError | UnsuitableError;

/** Returns whether an error means that the host cannot have the kernel path; any other error is a defect. */
export function isRefusalOfPath(error: unknown): error is Refusal {
  return error instanceof SysError || error instanceof BpfError || error instanceof UnsuitableError;
}

/** Errors that do not pass: no privilege, a feature that the kernel lacks, no writable BPF file system. */
const FINAL = ["EPERM", "EACCES", "EINVAL", "EOPNOTSUPP", "ENOSYS", "EROFS"];

/** Errors of loading a program that are not about the program itself. */
const TRANSIENT = ["ENOMEM", "EAGAIN", "EINTR", "EBUSY", "EMFILE", "ENFILE"];

/** Returns whether another try would fail in the same way. */
export function isFinal(refusal: Refusal): boolean {
  if (refusal instanceof UnsuitableError) return true;
  if (refusal instanceof BpfError) return !TRANSIENT.includes(refusal.cause.code);
  // mount fails with ENODEV in a kernel without the BPF file system; other calls when an interface is gone.
  return FINAL.includes(refusal.code) || refusal.syscall === "mount";
}

/** Returns whether an interface was gone, which the agent waits out. */
export function isInterfaceGone(error: unknown): boolean {
  const cause = error instanceof BpfError ? error.cause : error;
  return cause instanceof SysError && cause.errno === Errno.ENODEV && cause.syscall !== "mount";
}
