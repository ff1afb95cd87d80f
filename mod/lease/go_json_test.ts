import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { CHARACTER } from "../text/testing/character.ts";
import { encodeGoJson, parseGoJson } from "./go_json.ts";
import type { JsonValue } from "./lease.ts";

Deno.test("encodeGoJson() escapes what Go escapes, and as Go does", () => {
  // As `json.Marshal` of Go 1.7 writes them.
  const cases: readonly (readonly [JsonValue, string])[] = [
    ['<a href="x">&</a>', String.raw`"\u003ca href=\"x\"\u003e\u0026\u003c/a\u003e"`],
    ["\b\f\n\r\t\u0001\u007f", `"${String.raw`\u0008\u000c\n\r\t\u0001`}\u007f"`],
    ["\u2028\u2029", String.raw`"\u2028\u2029"`],
    [String.raw`C:\b\f`, String.raw`"C:\\b\\f"`],
    ["\ud800x\udc00", String.raw`"\ufffdx\ufffd"`],
    ["é🙂", '"é🙂"'],
    [{ "<": [1, null, true, {}] }, String.raw`{"\u003c":[1,null,true,{}]}`],
  ];
  for (const [value, text] of cases) assertEquals(encodeGoJson(value), text);
});

Deno.test("encodeGoJson() writes what reads back the same, without a character that Go escapes", () => {
  fc.assert(fc.property(fc.jsonValue({ stringUnit: "grapheme" }), (value) => {
    const text = encodeGoJson(value as JsonValue);
    assert(!/[<>&\u2028\u2029]/.test(text));
    assertEquals(JSON.parse(text), JSON.parse(JSON.stringify(value)));
  }));
});

Deno.test("parseGoJson() puts U+FFFD in the place of half a surrogate pair, as Go does", () => {
  const cases: readonly (readonly [string, JsonValue])[] = [
    [String.raw`"\ud800"`, "\ufffd"],
    [String.raw`"\uD83D\uDE42 \udc00\ud83d"`, "\u{1f642} \ufffd\ufffd"],
    [String.raw`{"\udfff":"\\ud800"}`, { "\ufffd": String.raw`\ud800` }],
    ['"\ud800"', "\ufffd"],
  ];
  for (const [text, value] of cases) assertEquals(parseGoJson(text), value, text);
});

Deno.test("parseGoJson() undoes encodeGoJson() for any value", () => {
  fc.assert(fc.property(fc.jsonValue({ stringUnit: CHARACTER }), (value) => {
    const text = encodeGoJson(value as JsonValue);
    assertEquals(parseGoJson(text), JSON.parse(text));
    // Halves of pairs are the same at the first reading as at the second.
    assertEquals(parseGoJson(JSON.stringify(value)), parseGoJson(text));
  }));
});

Deno.test("parseGoJson() refuses numbers out of range, and no others", () => {
  for (const text of ["1e309", "[-1E+999]", "9".repeat(309), '{"a":{"b":1.8e308}}']) {
    assertThrows(() => parseGoJson(text), RangeError, "out of range", text);
  }
  for (const text of ["1e308", "1e-999", '"1e999"', `"${"9".repeat(309)}"`]) {
    assertEquals(parseGoJson(text), JSON.parse(text), text);
  }
});
