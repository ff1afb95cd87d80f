import { ProviderError } from "../../backends/provider/errors.ts";
import { UnsuitableError } from "../../backends/udp/kernel/errors.ts";
import { HookError } from "../agent/host/hook_program.ts";
import { ClashError } from "../agent/host/host_registry.ts";
import { AlreadyRunningError } from "../agent/host/host_lock.ts";
import { PrivilegeError } from "../agent/host/privilege.ts";
import { ListenError } from "../agent/server/serve_listener.ts";
import { ConfigError } from "../config/errors.ts";
import { ExportError } from "../export/errors.ts";
import { FirewallError } from "../firewall/errors.ts";
import { InterfaceError } from "../host/errors.ts";
import { SysctlError } from "../host/sysctl.ts";
import { HealthError } from "../observe/health.ts";
import { StoreError } from "../store/errors.ts";
import { AcquireError } from "../subnet/acquire.ts";
import { DuplicatePublicIPError } from "../subnet/identity.ts";
import { ReservationError } from "../subnet/reserve.ts";
import { BpfError } from "../sys/bpf/error.ts";
import { SysError } from "../sys/ffi/errno.ts";
import { RandomSourceError } from "../sys/random_source.ts";
import { isRefusal } from "../sys/refusal.ts";
import { UsageError } from "./errors.ts";
import { EXIT_FAILURE } from "./exit_codes.ts";

/** Errors whose message is all that an operator needs. */
const REPORTED = [
  AcquireError,
  AlreadyRunningError,
  BpfError,
  ClashError,
  ConfigError,
  DuplicatePublicIPError,
  ExportError,
  FirewallError,
  HealthError,
  HookError,
  InterfaceError,
  ListenError,
  PrivilegeError,
  ProviderError,
  RandomSourceError,
  ReservationError,
  StoreError,
  SysError,
  SysctlError,
  UnsuitableError,
] as const;

/** The lines of an error, and the exit code. */
export interface ErrorReport {
  /** One line, or several for a defect or an error with a hint. */
  readonly lines: readonly string[];
  readonly exitCode: number;
}

/**
 * Formats an error that ended the program: the message alone for a mistake of the operator or a refusal of the host
 * or the store, with the stack for a defect of the program.
 */
export function reportError(error: unknown): ErrorReport {
  if (error instanceof UsageError) {
    const { message, hint, exitCode } = error;
    return { lines: hint === undefined ? [message] : [message, hint], exitCode };
  }
  if (error instanceof Error && REPORTED.some((kind) => error instanceof kind)) {
    return { lines: [error.message + privilegeHint(error)], exitCode: EXIT_FAILURE };
  }
  const stack = error instanceof Error ? error.stack ?? error.message : String(error);
  return {
    lines: `a defect of flanneld, please report it: ${stack}`.split("\n"),
    exitCode: EXIT_FAILURE,
  };
}

/** Advice for a host that refused for want of privileges; empty for all other errors. */
function privilegeHint(error: Error): string {
  if (error instanceof StoreError || !isRefusal(error)) return "";
  // The verifier returns EACCES too, for reasons that no privilege lifts.
  if (error instanceof BpfError && error.log !== "") return "";
  return "; run as root (or give it CAP_NET_ADMIN and CAP_NET_RAW, and its directories)";
}
