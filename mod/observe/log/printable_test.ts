import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { CHARACTER } from "../../text/testing/character.ts";
import { printable, printableJson } from "./printable.ts";

/** Any text, with many of the characters that matter. */
const hostile = fc.array(fc.oneof(
  fc.integer({ min: 0, max: 0x9f }).map((code) => String.fromCharCode(code)),
  fc.constantFrom("\u202e", "\u2066", "\u200e", "\u061c", "\u2028", "\u2029", "\ud800"),
  fc.string({ unit: CHARACTER }),
)).map((parts) => parts.join(""));

Deno.test("printable() escapes what a terminal obeys, what reorders a line, and what ends one", () => {
  assertEquals(printable("host \x1b[31mred\r\x9b0m\x7f"), "host \\x1b[31mred\\x0d\\x9b0m\\x7f");
  assertEquals(printable("two\nlines\u2028"), "two\\nlines\\u2028");
  assertEquals(printable("gnp.\u202ecod"), "gnp.\\u202ecod");
  assertEquals(printable("Grüße, 世界 👋"), "Grüße, 世界 👋");
});

Deno.test("printable() leaves no control character in any text", () => {
  fc.assert(fc.property(hostile, (text) => {
    assert(!/[\p{Cc}\p{Bidi_Control}\u2028\u2029]/u.test(printable(text)));
  }));
});

Deno.test("printableJson() keeps the value, and leaves no control character but white space", () => {
  fc.assert(fc.property(fc.jsonValue(), hostile, fc.constantFrom(0, 2), (value, text, indent) => {
    const json = JSON.stringify({ value, [text]: text }, undefined, indent);
    const shown = printableJson(json);
    assertEquals(JSON.parse(shown), JSON.parse(json));
    assert(!/(?![\n\t])[\p{Cc}\p{Bidi_Control}\u2028\u2029]/u.test(shown));
  }));
});

Deno.test("printableJson() keeps lines that end as a Windows editor's do", () => {
  assertEquals(printableJson('{\r\n"a":\r1}'), '{\r\n"a":\n1}');
});
