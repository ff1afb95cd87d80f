import { configureLog } from "../log/log.ts";

/** Captures the log until it is disposed of, for tests. */
export interface CapturedLog extends Disposable {
  /** Messages, each with its glog letter: `I Lease acquired: 10.20.48.0/24`. */
  readonly lines: readonly string[];
}

/** Takes the log of the process in until it is disposed of. */
export function captureLog(): CapturedLog {
  const lines: string[] = [];
  const before = configureLog({
    format: "glog",
    write: (line) => lines.push(`${line[0]} ${line.slice(line.indexOf("] ") + 2, -1)}`),
  });
  return {
    lines,
    [Symbol.dispose]: () => {
      configureLog(before);
    },
  };
}
