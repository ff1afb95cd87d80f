/**
 * The forms of a log line.
 *
 * @module
 */
import type { LogFields } from "./log_fields.ts";
import { printableJson } from "./printable.ts";

/** How lines are written. */
export type LogFormat =
  /** `I0102 03:04:05.067000    1234 acquire.ts:52] Lease acquired: 10.20.48.0/24` */
  | "glog"
  /** One object a line, with the fields as members. */
  | "json"
  /** glog's format after a priority in angle brackets, which the journal removes. */
  | "journald";

/** How much a line matters; `debug` is what `-v` brings. */
export type Level = "debug" | "info" | "warning" | "error";

/** All of one line. */
export interface LogLine {
  readonly level: Level;
  /** One line without control characters. */
  readonly text: string;
  readonly time: Date;
  /** `file.ts:line` of the caller. */
  readonly source: string;
  readonly pid: number;
  readonly fields?: LogFields | undefined;
}

/** syslog(3): LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG. */
const PRIORITIES: Readonly<Record<Level, number>> = { error: 3, warning: 4, info: 6, debug: 7 };

const LETTERS: Readonly<Record<Level, string>> = {
  error: "E",
  warning: "W",
  info: "I",
  debug: "I", // as glog's V() has it
};

/** A line in a form, its line feed included. */
export function formatLine(format: LogFormat, line: LogLine): string {
  switch (format) {
    case "glog":
      return formatGlog(line);
    case "journald":
      // sd-daemon(3). The line after the prefix stays glog's: runbooks grep journalctl's output too.
      return `<${PRIORITIES[line.level]}>${formatGlog(line)}`;
    case "json":
      return formatJson(line);
  }
}

/** `Lmmdd hh:mm:ss.uuuuuu ppppppp file.ts:line] text`, in local time. */
export function formatGlog({ level, text, time, source, pid }: LogLine): string {
  const two = (value: number) => String(value).padStart(2, "0");
  const day = two(time.getMonth() + 1) + two(time.getDate());
  const clock = `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`;
  const micros = String(time.getMilliseconds() * 1000).padStart(6, "0");
  const id = String(pid).padStart(7);
  return `${LETTERS[level]}${day} ${clock}.${micros} ${id} ${source}] ${text}\n`;
}

function formatJson({ level, text, time, source, pid, fields = {} }: LogLine): string {
  const members: Record<string, unknown> = {
    time: time.toISOString(),
    level: level === "debug" ? "info" : level,
    message: text,
    source,
    pid,
  };
  for (const [name, value] of Object.entries(fields)) {
    members[name] = typeof value === "object" && value !== null ? String(value) : value;
  }
  return printableJson(JSON.stringify(members)) + "\n";
}

/**
 * True when standard error is the journal: systemd names it by device and inode in `JOURNAL_STREAM`
 * (systemd.exec(5)), which a program that was started with another one inherits as well.
 *
 * @param stream value of the variable
 * @param descriptor path of the descriptor. @default standard error's
 */
export function isJournal(stream: string | undefined, descriptor = "/proc/self/fd/2"): boolean {
  const [, device, inode] = /^(\d+):(\d+)$/.exec(stream ?? "") ?? [];
  if (device === undefined) return false;
  try {
    const { dev, ino } = Deno.statSync(descriptor);
    return Number(device) === dev && Number(inode) === ino;
  } catch {
    return false;
  }
}
