import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { type JsonNode, JsonSyntaxError, parseJson } from "./json_syntax.ts";

/** Returns the result of `JSON.parse` for a parsed value. */
function plain(node: JsonNode): unknown {
  switch (node.kind) {
    case "object":
      // Not Object.fromEntries: JSON.parse, too, makes `__proto__` an own property.
      return node.members.reduce((object, [key, value]) =>
        Object.defineProperty(object, key, {
          value: plain(value),
          enumerable: true,
          configurable: true,
          writable: true,
        }), {});
    case "array":
      return node.elements.map(plain);
    case "number":
      return Number(node.text);
    case "null":
      return null;
    default:
      return node.value;
  }
}

Deno.test("parseJson() reads what JSON.stringify() writes", () => {
  fc.assert(
    fc.property(fc.json({ maxDepth: 5 }), fc.constantFrom(undefined, 1, "\t"), (json, indent) => {
      const text = JSON.stringify(JSON.parse(json), null, indent);
      assertEquals(JSON.stringify(plain(parseJson(text))), JSON.stringify(JSON.parse(text)));
    }),
  );
});

Deno.test("parseJson() takes and refuses exactly the texts that JSON.parse() does", () => {
  const tokens = fc.constantFrom(
    ...'{}[]:,"\\ \n\t-+.0123456789eE'.split(""),
    '"a"',
    '"\\u00e9"',
    '"\\ud800"',
    "true",
    "false",
    "null",
    "nul",
    "1.5e+3",
    "\u00a0",
    "\ufeff",
    "\u0001",
    "😀",
  );
  fc.assert(
    fc.property(fc.array(tokens, { maxLength: 12 }), (parts) => {
      const text = parts.join("");
      let expected = true;
      try {
        JSON.parse(text);
      } catch {
        expected = false;
      }
      let actual = true;
      try {
        parseJson(text);
      } catch (error) {
        if (!(error instanceof JsonSyntaxError)) throw error;
        actual = false;
      }
      assertEquals(actual, expected, JSON.stringify(text));
    }),
    { numRuns: 5000 },
  );
});

Deno.test("parseJson() keeps duplicate members in the order of the text", () => {
  const node = parseJson('{"a": 1, "A": 2, "a": 3}');
  assertEquals(node.kind === "object" && node.members.map(([key]) => key), ["a", "A", "a"]);
});

Deno.test("parseJson() keeps a number as it was written", () => {
  assertEquals(parseJson(" -0.10E+2\n"), { kind: "number", text: "-0.10E+2" });
});

Deno.test("parseJson() replaces half a surrogate pair as Go does", () => {
  assertEquals(parseJson('"\\ud83d!"'), { kind: "string", value: "\ufffd!" });
});

Deno.test("parseJson() has the messages of Go's scanner", () => {
  for (
    const [text, message, offset] of [
      ["", "unexpected end of JSON input", 0],
      ["  \n", "unexpected end of JSON input", 3],
      ["{", "unexpected end of JSON input", 1],
      ['{"Network": "10', "unexpected end of JSON input", 15],
      ["nobody", "invalid character 'o' in literal null (expecting 'u')", 1],
      ["bad", "invalid character 'b' looking for beginning of value", 0],
      ["{Network: 1}", "invalid character 'N' looking for beginning of object key string", 1],
      ['{"a": 1,}', "invalid character '}' looking for beginning of object key string", 8],
      ["{'a': 1}", "invalid character '\\'' looking for beginning of object key string", 1],
      ['{"a" 1}', "invalid character '1' after object key", 5],
      ['{"a": 1 "b": 2}', "invalid character '\"' after object key:value pair", 8],
      ["[1 2]", "invalid character '2' after array element", 3],
      ["{}{}", "invalid character '{' after top-level value", 2],
      ["{} x", "invalid character 'x' after top-level value", 3],
      ['"a\nb"', "invalid character '\\n' in string literal", 2],
      ['"\\x"', "invalid character 'x' in string escape code", 2],
      ['"\\u00g0"', "invalid character 'g' in \\u hexadecimal character escape", 5],
      ["-a", "invalid character 'a' in numeric literal", 1],
      ["1.a", "invalid character 'a' after decimal point in numeric literal", 2],
      ["1e+", "unexpected end of JSON input", 3],
      ["1e+a", "invalid character 'a' in exponent of numeric literal", 3],
      ["01", "invalid character '1' after top-level value", 1],
    ] as const
  ) {
    const error = assertThrows(() => parseJson(text), JsonSyntaxError);
    assertEquals([error.message, error.offset], [message, offset], text);
  }
});

Deno.test("parseJson() names the members around an error", () => {
  for (
    const [text, keys] of [
      ['{"Network": nobody}', ["Network"]],
      ['{"a": 1, "Backend": {"Type": "vxlan", "VNI": }}', ["Backend", "VNI"]],
      ['{"Backend": {"VNI": 1} "SubnetLen": 24}', ["Backend"]],
      ['{"a": 1, nobody}', []],
    ] as const
  ) {
    assertEquals(assertThrows(() => parseJson(text), JsonSyntaxError).keys, [...keys], text);
  }
});

Deno.test("parseJson() stops at a depth no configuration has", () => {
  const deep = (levels: number) => "[".repeat(levels) + "]".repeat(levels);
  assertEquals(parseJson(deep(1000)).kind, "array");
  const error = assertThrows(() => parseJson(deep(1001)), JsonSyntaxError);
  assertEquals(error.message, "exceeded max depth");
});
