import type { JsonValue } from "./lease.ts";

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
