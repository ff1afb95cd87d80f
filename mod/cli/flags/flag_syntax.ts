/**
 * The grammar of Go's `flag` package (https://pkg.go.dev/flag), which flannel uses: one dash or two, `-x v` or
 * `-x=v`, and booleans that never take the next word.
 *
 * Errors have Go's text, because operators and their scripts search for it.
 *
 * @module
 */

/** How the text of a flag is read. */
export type FlagKind = "bool" | "int" | "string";

/** A flag's value, by its kind. */
export type FlagValue = boolean | number | string;

/** A flag of the command line. */
export interface GivenFlag {
  readonly name: string;
  readonly value: FlagValue;
  /** As written; `true` for a boolean without a value. */
  readonly text: string;
}

/** Result of {@linkcode parseFlags}. */
export interface ParsedFlags {
  /** In order; a flag that was given twice occurs twice. */
  readonly flags: readonly GivenFlag[];
  /** The first word that is not a flag, and all words after it; the words after `--`. */
  readonly rest: readonly string[];
}

/** Options of {@linkcode FlagSyntaxError}. */
export interface FlagSyntaxDetails {
  /** Name of the flag, where one was recognized. */
  readonly flag?: string;
  /** The value that cannot be read. */
  readonly value?: string;
}

/** A word that is not a flag, or a value of the wrong kind. The message has Go's text. */
export class FlagSyntaxError extends Error {
  override readonly name = "FlagSyntaxError";
  readonly flag: string | undefined;
  readonly value: string | undefined;

  constructor(message: string, details: FlagSyntaxDetails = {}) {
    super(message);
    this.flag = details.flag;
    this.value = details.value;
  }
}

/** {@linkcode parseValue} refuses a text. The message has Go's text. */
export class FlagValueError extends Error {
  override readonly name = "FlagValueError";
}

/**
 * Reads flags up to the first word that is not a flag.
 *
 * @param words the command line without the program's own name
 * @param kindOf kind of a flag, `undefined` when there is no such flag
 * @throws {FlagSyntaxError} at the first word that cannot be read
 *
 * @example
 * ```ts
 * import { parseFlags } from "./flag_syntax.ts";
 * const parsed = parseFlags(["--ip-masq", "status"], () => "bool");
 * console.assert(parsed.flags[0]!.value === true && parsed.rest[0] === "status");
 * ```
 */
export function parseFlags(
  words: readonly string[],
  kindOf: (name: string) => FlagKind | undefined,
): ParsedFlags {
  const flags: GivenFlag[] = [];
  let at = 0;
  while (at < words.length) {
    const word = words[at]!;
    if (word.length < 2 || word[0] !== "-") break;
    at++;
    if (word === "--") break;
    const body = word.slice(word[1] === "-" ? 2 : 1);
    if (body[0] === "-" || body[0] === "=") throw new FlagSyntaxError(`bad flag syntax: ${word}`);
    const equals = body.indexOf("=");
    const name = equals < 0 ? body : body.slice(0, equals);
    const kind = kindOf(name);
    if (kind === undefined) {
      throw new FlagSyntaxError(`flag provided but not defined: -${name}`, { flag: name });
    }
    let text = equals < 0 ? undefined : body.slice(equals + 1);
    if (text === undefined) {
      if (kind === "bool") text = "true";
      else if (at < words.length) text = words[at++]!;
      else throw new FlagSyntaxError(`flag needs an argument: -${name}`, { flag: name });
    }
    flags.push({ name, value: valueOf(name, kind, text), text });
  }
  return { flags, rest: words.slice(at) };
}

function valueOf(name: string, kind: FlagKind, text: string): FlagValue {
  try {
    return parseValue(kind, text);
  } catch (cause) {
    if (!(cause instanceof FlagValueError)) throw cause;
    const what = kind === "bool"
      ? `invalid boolean value ${quote(text)} for -${name}`
      : `invalid value ${quote(text)} for flag -${name}`;
    throw new FlagSyntaxError(`${what}: ${cause.message}`, { flag: name, value: text });
  }
}

/** The words of `strconv.ParseBool`. */
const BOOLEANS: Readonly<Record<string, boolean | undefined>> = Object.assign(Object.create(null), {
  "1": true,
  t: true,
  T: true,
  true: true,
  TRUE: true,
  True: true,
  "0": false,
  f: false,
  F: false,
  false: false,
  FALSE: false,
  False: false,
});

/**
 * Reads one value.
 *
 * @returns a boolean, a number, or the text itself. Beyond 2^53 a number is the nearest double.
 * @throws {FlagValueError} `parse error`, or `value out of range` beyond a signed 64-bit integer
 */
export function parseValue(kind: FlagKind, text: string): FlagValue {
  switch (kind) {
    case "string":
      return text;
    case "bool": {
      const value = BOOLEANS[text];
      if (value === undefined) throw new FlagValueError("parse error");
      return value;
    }
    case "int":
      return parseInteger(text);
  }
}

/**
 * An integer literal of Go: a sign, a base prefix (0b, 0o or plain 0, 0x), digits, and underscores
 * between digits or after the prefix. (`strconv.ParseInt` with base 0.)
 */
const INTEGER =
  /^([+-]?)(?:0[bB]((?:_?[01])+)|0[oO]((?:_?[0-7])+)|0[xX]((?:_?[0-9a-fA-F])+)|(0(?:_?[0-7])*)|([1-9](?:_?[0-9])*))$/;

function parseInteger(text: string): number {
  const match = INTEGER.exec(text);
  if (match === null) throw new FlagValueError("parse error");
  const [, sign, binary, octal, hex, plainOctal, decimal] = match;
  const literal = binary !== undefined
    ? `0b${binary}`
    : octal !== undefined || plainOctal !== undefined
    ? `0o${octal ?? plainOctal}`
    : hex !== undefined
    ? `0x${hex}`
    : decimal!;
  const magnitude = BigInt(literal.replaceAll("_", ""));
  const value = sign === "-" ? -magnitude : magnitude;
  if (BigInt.asIntN(64, value) !== value) throw new FlagValueError("value out of range");
  return Number(value);
}

const ESCAPES: Readonly<Record<string, string | undefined>> = {
  '"': '\\"',
  "\\": "\\\\",
  "\x07": "\\a",
  "\b": "\\b",
  "\f": "\\f",
  "\n": "\\n",
  "\r": "\\r",
  "\t": "\\t",
  "\v": "\\v",
};

/** Quotes a text as Go's `%q` does: one line, whatever is in it. */
export function quote(text: string): string {
  const inner = text.replaceAll(/["\\]|[^ \p{L}\p{M}\p{N}\p{P}\p{S}]/gu, (character) => {
    const escape = ESCAPES[character];
    if (escape !== undefined) return escape;
    const code = character.codePointAt(0)!;
    if (code < 0x80) return "\\x" + code.toString(16).padStart(2, "0");
    return code < 0x10000
      ? "\\u" + code.toString(16).padStart(4, "0")
      : "\\U" + code.toString(16).padStart(8, "0");
  });
  return `"${inner}"`;
}
