import type { SysError } from "../ffi/errno.ts";

/** Returns the last lines of the verifier's log that are not statistics, which have the reason. */
function reason(log: string): string | undefined {
  const lines = log.split("\n").map((line) => line.trim()).filter((line) =>
    line !== "" && !/^(processed \d+ insns|verification time|stack depth)/.test(line)
  );
  return lines.at(-1);
}

/** The kernel refused a BPF program. The message is one line; the verifier's whole log is beside it. */
export class BpfError extends Error {
  override readonly name = "BpfError";
  /** The verifier's log, many lines; empty when it had not come that far. */
  readonly log: string;
  override readonly cause: SysError;

  constructor(program: string, cause: SysError, log: string) {
    const why = reason(log);
    super(`BPF program ${program}: ${why === undefined ? "" : `${why}; `}${cause.message}`, {
      cause,
    });
    this.log = log;
    this.cause = cause;
  }
}
