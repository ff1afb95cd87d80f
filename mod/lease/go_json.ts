import type { JsonValue } from "./lease.ts";

/** An escape of JSON; the last group is half of a surrogate pair without the other half. */
const ESCAPE = /\\(?:ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}|u(d[89a-f][0-9a-f]{2})|[^])/gi;

/** Matches texts that may have an out-of-range number: 309 digits before the point, or 3 in the exponent. */
const MAYBE_HUGE = /\de\+?0*[1-9]\d\d|\d{309}/i;

/**
 * Parses JSON like Go's `encoding/json`: half of a surrogate pair becomes U+FFFD, and a number out of range is an
 * error (`JSON.parse` returns infinity, which `JSON.stringify` writes as `null`).
 *
 * @throws {SyntaxError} when the text is not JSON
 * @throws {RangeError} for a number beyond 1.8e308
 */
export function parseGoJson(text: string): JsonValue {
  const sound = text.replace(ESCAPE, (escape, half?: string) => half ? "\\ufffd" : escape);
  return JSON.parse(sound.toWellFormed(), MAYBE_HUGE.test(text) ? refuseInfinite : undefined);
}

function refuseInfinite(_key: string, value: JsonValue): JsonValue {
  if (value === Infinity || value === -Infinity) throw new RangeError("a number is out of range");
  return value;
}

/**
 * Characters that Go's `encoding/json` escapes and `JSON.stringify` does not: `<`, `>` and `&` for browsers, and
 * the two separators that end a line in old JavaScript.
 */
const ESCAPED = /[<>&\u2028\u2029]/g;

/** Escapes that `JSON.stringify` writes differently from Go: short forms, and halves of a surrogate pair. */
const OTHERWISE = /\\(?:\\|b|f|ud[89a-f][0-9a-f]{2})/g;

/**
 * Encodes JSON byte for byte like Go's `encoding/json` (Go 1.7, which flannel 0.7.1 was built with), with members
 * in their order. Numbers may differ: Go keeps their spelling.
 */
export function encodeGoJson(value: JsonValue): string {
  return JSON.stringify(value)
    .replaceAll(ESCAPED, (character) => unicode(character.charCodeAt(0)))
    .replaceAll(OTHERWISE, (text) => {
      switch (text) {
        case "\\\\":
          return text;
        case "\\b":
          return unicode(0x08);
        case "\\f":
          return unicode(0x0c);
        default:
          return "\\ufffd";
      }
    });
}

function unicode(code: number): string {
  return `\\u${code.toString(16).padStart(4, "0")}`;
}
