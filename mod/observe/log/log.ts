/**
 * The agent's log: glog lines by default, since flannel's runbooks grep them, JSON, or glog's with
 * priorities for the journal.
 *
 * A line names its caller's place in the source. Finding that costs a stack trace, some 25 us; nothing on
 * a packet's path logs.
 *
 * @module
 */
import type { LogFields } from "./log_fields.ts";
import { formatLine, isJournal, type Level, type LogFormat, type LogLine } from "./log_format.ts";
import { LineRate } from "./log_rate.ts";
import { Repeats } from "./log_repeats.ts";
import { printable } from "./printable.ts";
import { currentScope } from "./scope.ts";
import { shorten } from "./shorten.ts";

export type { LogFields, LogFormat };

const settings = {
  format: "glog" as LogFormat,
  verbosity: 0,
  quiet: false,
  limitRepeats: false,
  write: writeToStderr,
};

/** Lines since the start, by level, those left out included; `-v` counts as debug. */
const counts: Record<Level, number> = { debug: 0, info: 0, warning: 0, error: 0 };

/** Options of {@linkcode configureLog}. */
export interface LogOptions {
  /** `auto` is journald's where standard error is the journal, else glog's. @default "glog" */
  readonly format?: LogFormat | "auto";
  /** Messages of {@linkcode verbose} up to this level are written. @default 0 */
  readonly verbosity?: number;
  /** Leave out what is only to be known; `-v` brings it back. @default false */
  readonly quiet?: boolean;
  /**
   * Suppress a line after five times a minute, and lines of one kind after a hundred a second, and log their
   * number. @default false
   */
  readonly limitRepeats?: boolean;
  /** Takes each finished line, its line feed included. @default standard error */
  readonly write?: (line: string) => void;
}

/**
 * Sets how the log is written, for the whole process.
 *
 * @returns what was set before
 */
export function configureLog({ format, ...options }: LogOptions): Required<LogOptions> {
  const before = { ...settings };
  Object.assign(settings, options);
  if (format === "auto") {
    settings.format = isJournal(Deno.env.get("JOURNAL_STREAM")) ? "journald" : "glog";
  } else if (format !== undefined) settings.format = format;
  return before;
}

/** Lines logged since the start, by level. */
export function logCounts(): Readonly<Record<Level, number>> {
  return counts;
}

/** Reports the numbers of suppressed lines, before the process ends. */
export function flushLog(): void {
  repeats.flush();
  rate.flush();
}

/** Logs what an operator wants to know. */
export function info(message: string, fields?: LogFields): void {
  emit("info", message, fields);
}

/** Logs a line that an operator may have to check. */
export function warning(message: string, fields?: LogFields): void {
  emit("warning", message, fields);
}

/** Logs what has failed. */
export function error(message: string, fields?: LogFields): void {
  emit("error", message, fields);
}

/** Logs detail at `-v=level` and above: 1 for choices, 2 for each change to the kernel. */
export function verbose(level: number, message: string, fields?: LogFields): void {
  if (level <= settings.verbosity) emit("debug", message, fields);
}

const repeats = new Repeats<Omit<LogLine, "time">>({
  onOmitted: (line, count, seconds) =>
    sumUp(line, `The same line ${count} times more`, count, seconds),
});

const rate = new LineRate<Omit<LogLine, "time">>({
  onOmitted: (line, count, seconds) =>
    sumUp(line, `${count} more lines like the following`, count, seconds),
});

function sumUp(
  { text, ...line }: Omit<LogLine, "time">,
  what: string,
  count: number,
  seconds: number,
): void {
  settings.write(formatLine(settings.format, {
    ...line,
    text: `${what} in ${seconds.toFixed(0)} s: ${text}`,
    time: new Date(),
    fields: { ...line.fields, repeats: count, seconds },
  }));
}

/** Bytes of a message, before it is escaped: an error may quote a server's answer. */
const MESSAGE_BYTES = 4_000;

/** Fields with texts of other origin, which a message quotes in full. */
const VALUES = ["config", "previous", "hostname", "networkName"] as const;

/** Shortens the values and the whole of a message and its fields. */
function bounded(
  message: string,
  fields: LogFields | undefined,
): readonly [message: string, fields: LogFields | undefined] {
  for (const name of VALUES) {
    const value = fields?.[name];
    if (typeof value !== "string") continue;
    const short = shorten(value);
    if (short === value) continue;
    message = message.replaceAll(value, () => short);
    fields = { ...fields, [name]: short };
  }
  const error = fields?.error;
  return [
    shorten(message, MESSAGE_BYTES),
    error === undefined ? fields : { ...fields, error: shorten(error, MESSAGE_BYTES) },
  ];
}

function emit(level: Level, message: string, fields: LogFields | undefined): void {
  if (level === "info" && settings.quiet && settings.verbosity === 0) return;
  counts[level]++;
  // Messages quote what others wrote: etcd's words of several lines, values out of the store.
  [message, fields] = bounded(message, fields);
  const plain = printable(message.trimEnd().replaceAll("\n", "; "));
  const network = currentScope()?.name;
  const isNamed = network !== undefined && settings.format !== "json";
  const text = isNamed ? `${network}: ${plain}` : plain;
  if (network !== undefined) fields = { ...fields, networkName: network };
  const line = { level, text, fields, source: callSite(), pid: Deno.pid };
  // At level debug the operator wants every line.
  const isLimited = settings.limitRepeats && level !== "debug";
  if (isLimited && !repeats.admit(`${level} ${network} ${text}`, line)) return;
  if (isLimited && !rate.admit(`${level} ${network} ${line.source}`, line)) return;
  settings.write(formatLine(settings.format, { ...line, time: new Date() }));
}

function writeToStderr(line: string): void {
  const bytes = new TextEncoder().encode(line);
  try {
    for (let at = 0; at < bytes.length;) at += Deno.stderr.writeSync(bytes.subarray(at));
  } catch {
    // The reader of the log has gone (EPIPE) or is behind (EAGAIN). There is nowhere to report that, and no
    // reason to leave the data path without its agent.
  }
}

/** Files that log on behalf of their callers. */
const WRAPPERS = new Set(["log.ts", "warning_log.ts", "peers.ts"]);

/** `file.ts:line` of the first stack frame outside the wrappers. */
function callSite(): string {
  for (const frame of (new Error().stack ?? "").split("\n").slice(1)) {
    const match = /([^/\\]+\.[jt]s):(\d+):\d+\)?$/.exec(frame);
    if (match !== null && !WRAPPERS.has(match[1]!)) return `${match[1]}:${match[2]}`;
  }
  return "main.ts:0";
}
