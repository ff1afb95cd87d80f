import type { JsonValue } from "./lease.ts";

/** An escape of JSON; the last group is half of a surrogate pair without the other half. */
const ESCAPE = /\\(?:ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}|u(d[89a-f][0-9a-f]{2})|[^])/gi;

/** Digits that a number may be out of range with, 309 before the point or 3 in the exponent. */
const MAYBE_HUGE = /\de\+?0*[1-9]\d\d|\d{309}/i;

/**
 * Reads JSON as Go's `encoding/json` does: half of a surrogate pair becomes U+FFFD. A number that is out of range is
 * refused, where `JSON.parse` makes it infinite and `JSON.stringify` then `null`.
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
 * What Go's `encoding/json` escapes and `JSON.stringify` leaves: `<`, `>` and `&`, lest a browser
 * take them for markup, and the two separators that JavaScript once took for the end of a line.
 */
const ESCAPED = /[<>&\u2028\u2029]/g;

/** What `JSON.stringify` writes otherwise than Go: the short forms, and halves of a surrogate pair. */
const OTHERWISE = /\\(?:\\|b|f|ud[89a-f][0-9a-f]{2})/g;

/**
 * Writes JSON byte for byte as Go's `encoding/json` does (of Go 1.7, which flannel 0.7.1 was built
 * with), members in the order they have; but for numbers, which Go keeps as they were written.
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
