/**
 * The agent's log: glog lines by default, since flannel's runbooks grep them, or JSON.
 *
 * A line is `Lmmdd hh:mm:ss.uuuuuu ppppppp file.ts:line] text`: L one of I W E, local time, the
 * process id right-aligned in seven columns, and the caller's place in the source. Finding the
 * caller costs a stack trace, some 25 us; nothing on a packet's path logs.
 *
 * @module
 */

/** How lines are written. */
export type LogFormat = "glog" | "json";

/** Values that go with a message; JSON lines carry them as members. */
export type LogFields = Readonly<
  Record<string, string | number | boolean | null | undefined | { toString(): string }>
>;

type Level = "info" | "warning" | "error";

const settings = {
  format: "glog" as LogFormat,
  verbosity: 0,
  quiet: false,
  write: writeToStderr,
};

/** Options of {@linkcode configureLog}. */
export interface LogOptions {
  /** @default "glog" */
  readonly format?: LogFormat;
  /** Messages of {@linkcode verbose} up to this level are written. @default 0 */
  readonly verbosity?: number;
  /** Leave out what is only to be known; `-v` brings it back. @default false */
  readonly quiet?: boolean;
  /** Takes each finished line, its line feed included. @default standard error */
  readonly write?: (line: string) => void;
}

/**
 * Sets how the log is written, for the whole process.
 *
 * @returns what was set before
 */
export function configureLog(options: LogOptions): Required<LogOptions> {
  const before = { ...settings };
  Object.assign(settings, options);
  return before;
}

/** Logs what an operator wants to know. */
export function info(message: string, fields?: LogFields): void {
  emit("info", message, fields);
}

/** Logs what an operator may have to look at. */
export function warning(message: string, fields?: LogFields): void {
  emit("warning", message, fields);
}

/** Logs what has failed. */
export function error(message: string, fields?: LogFields): void {
  emit("error", message, fields);
}

/** Logs detail at `-v=level` and above: 1 ways and doubts, 2 each change to the kernel. */
export function verbose(level: number, message: string, fields?: LogFields): void {
  if (level <= settings.verbosity) emit("info", message, fields);
}

function emit(level: Level, message: string, fields: LogFields | undefined): void {
  if (level === "info" && settings.quiet && settings.verbosity === 0) return;
  const now = new Date();
  // Messages quote what others wrote: etcd's words of several lines, values out of the store.
  const text = message.trimEnd().replaceAll("\n", "; ").replaceAll(/\p{Cc}/gu, escapeControl);
  settings.write(
    settings.format === "json"
      ? JSON.stringify({
        time: now.toISOString(),
        level,
        message: text,
        source: callSite(),
        pid: Deno.pid,
        ...stringified(fields),
      }) + "\n"
      : formatGlog(level, text, now, callSite(), Deno.pid),
  );
}

/** One glog line. Exported for its test. */
export function formatGlog(
  level: Level,
  text: string,
  time: Date,
  source: string,
  pid: number,
): string {
  const two = (value: number) => String(value).padStart(2, "0");
  const day = two(time.getMonth() + 1) + two(time.getDate());
  const clock = `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`;
  const micros = String(time.getMilliseconds() * 1000).padStart(6, "0");
  return `${level[0]!.toUpperCase()}${day} ${clock}.${micros} ${
    String(pid).padStart(7)
  } ${source}] ${text}\n`;
}

/** `\x1b` for an escape character, which a terminal would obey. */
function escapeControl(character: string): string {
  return `\\x${character.charCodeAt(0).toString(16).padStart(2, "0")}`;
}

function writeToStderr(line: string): void {
  const bytes = new TextEncoder().encode(line);
  try {
    for (let at = 0; at < bytes.length;) at += Deno.stderr.writeSync(bytes.subarray(at));
  } catch {
    // Nobody reads the log any more (EPIPE), or whoever does is behind (EAGAIN). There is nowhere
    // to say so, and no reason to leave the data path without its agent.
  }
}

function stringified(fields: LogFields | undefined): Record<string, unknown> {
  const out: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(fields ?? {})) {
    out[key] = typeof value === "object" && value !== null ? String(value) : value;
  }
  return out;
}

/** Files that log on behalf of their callers. */
const WRAPPERS = new Set(["log.ts", "state_log.ts"]);

/** `file.ts:line` of the first stack frame outside the wrappers. */
function callSite(): string {
  for (const frame of (new Error().stack ?? "").split("\n").slice(1)) {
    const match = /([^/\\]+\.[jt]s):(\d+):\d+\)?$/.exec(frame);
    if (match !== null && !WRAPPERS.has(match[1]!)) return `${match[1]}:${match[2]}`;
  }
  return "main.ts:0";
}
