import { BpfError } from "../../../mod/sys/bpf/mod.ts";
import { SysError } from "../../../mod/sys/mod.ts";
import { UnsuitableError } from "./errors.ts";

/** What the kernel says to a step of the kernel path. */
export type Refusal = SysError | BpfError | UnsuitableError;

/** True for what a host may live with; anything else is a defect. */
export function isRefusalOfPath(error: unknown): error is Refusal {
  return error instanceof SysError || error instanceof BpfError || error instanceof UnsuitableError;
}

/** Who asks again gets the same answer: no privilege, no such thing in this kernel, nowhere to pin. */
const FINAL = ["EPERM", "EACCES", "EINVAL", "EOPNOTSUPP", "ENOSYS", "EROFS"];

/** What a program is refused for besides for what it is. */
const PASSING = ["ENOMEM", "EAGAIN", "EINTR", "EBUSY", "EMFILE", "ENFILE"];

/** True when it is no use to try again. */
export function isFinal(refusal: Refusal): boolean {
  if (refusal instanceof UnsuitableError) return true;
  if (refusal instanceof BpfError) return !PASSING.includes(refusal.cause.code);
  // A kernel without the BPF file system says ENODEV; elsewhere that is an interface which is gone.
  return FINAL.includes(refusal.code) || refusal.syscall === "mount";
}
