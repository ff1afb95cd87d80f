/**
 * Writes the output and errors of all subcommands. Escapes control characters, so that no text from the store, a
 * file or a command line reaches the terminal as a control sequence.
 *
 * @module
 */
import { printable, printableJson } from "../observe/log/printable.ts";

/** ECMA-48: cursor to the first column of the first line; erase to the end of the line, of the page. */
const HOME = "\x1b[H";
const ERASE_LINE = "\x1b[K";
const ERASE_BELOW = "\x1b[J";

/** SGR parameters of ECMA-48. */
const SGR = { red: 31, green: 32, yellow: 33 } as const;

/** Color of the first characters of a line. */
export interface Tint {
  readonly color: keyof typeof SGR;
  /** @default the whole line */
  readonly length?: number;
}

/** Returns the color of a line; `undefined` for none. */
export type Paint = (line: string) => Tint | undefined;

/**
 * Prints lines; escapes a line feed inside a line as any control character.
 *
 * @param paint colors, for a terminal, unless NO_COLOR is set (https://no-color.org)
 */
export function print(text: string | readonly string[], paint?: Paint): void {
  write(Deno.stdout, toText(text, Deno.stdout, paint));
}

/** Prints a note or a warning on standard error, which keeps standard output for the result. */
export function printNote(text: string | readonly string[]): void {
  write(Deno.stderr, toText(text, Deno.stderr));
}

/** Prints what a person reads. */
export type Say = (text: string | readonly string[]) => void;

/** Returns how a subcommand with `-json` prints what a person reads: on standard error beside a report. */
export function sayer(isJson: boolean): Say {
  return isJson ? printNote : (text) => print(text);
}

/** Prints an error on standard error. The first line begins with the program's name, as that of any Unix command. */
export function printError(text: string | readonly string[]): void {
  const [first = "", ...rest] = typeof text === "string" ? [text] : text;
  const prefix = "flanneld:";
  const paint: Paint = (line) =>
    line.startsWith(prefix) ? { color: "red", length: prefix.length } : undefined;
  write(Deno.stderr, toText([`${prefix} ${first}`, ...rest], Deno.stderr, paint));
}

/** Prints a question on standard error, which is rarely piped; the cursor stays behind it. */
export function printQuestion(text: string): void {
  write(Deno.stderr, printable(text));
}

/** Prints a value as JSON of several lines. */
export function printJson(value: unknown): void {
  printJsonText(JSON.stringify(value, undefined, 2));
}

/** Version of the JSON that {@linkcode printReport} writes; a change that breaks readers raises it. */
const REPORT_VERSION = 1;

/** Help of the flag `-json` of the subcommands that call {@linkcode printReport}. */
export const JSON_HELP = "print one JSON object for scripts";

/** Prints the result of a subcommand as one JSON object that begins with its version. */
export function printReport(members: Readonly<Record<string, unknown>>): void {
  printJson({ version: REPORT_VERSION, ...members });
}

/** Prints a JSON text. */
export function printJsonText(json: string): void {
  write(Deno.stdout, `${printableJson(json.replace(/\n$/, ""))}\n`);
}

/** Replaces the lines of the screen. */
export function printScreen(lines: readonly string[], paint?: Paint): void {
  const shown = painter(Deno.stdout, paint);
  const text = lines.map((line) => `${shown(line)}${ERASE_LINE}\n`).join("");
  write(Deno.stdout, HOME + text + ERASE_BELOW);
}

/** Prints a text of the program itself unchanged: help, a script, a manual page. */
export function printOwnText(text: string): void {
  write(Deno.stdout, `${text.trimEnd()}\n`);
}

function toText(text: string | readonly string[], to: Output, paint?: Paint): string {
  const shown = painter(to, paint);
  return (typeof text === "string" ? [text] : text).map((line) => `${shown(line)}\n`).join("");
}

/** Returns the function that makes a line printable, and colors it where the output shows colors. */
function painter(to: Output, paint: Paint | undefined): (line: string) => string {
  if (paint === undefined || Deno.noColor || !to.isTerminal()) return printable;
  return (line) => {
    const tint = paint(line);
    if (tint === undefined) return printable(line);
    const { color, length = line.length } = tint;
    const [first, rest] = [line.slice(0, length), line.slice(length)].map(printable);
    return `\x1b[${SGR[color]}m${first}\x1b[0m${rest}`;
  };
}

/** Standard output or standard error. */
interface Output {
  writeSync(bytes: Uint8Array): number;
  isTerminal(): boolean;
}

function write(to: Output, text: string): void {
  const bytes = new TextEncoder().encode(text);
  try {
    for (let at = 0; at < bytes.length;) at += to.writeSync(bytes.subarray(at));
  } catch (error) {
    // The reader has closed the pipe, as in `flanneld status -watch | head`.
    if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
  }
}
