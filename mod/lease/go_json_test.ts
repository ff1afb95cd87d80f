import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { encodeGoJson } from "./go_json.ts";
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
