import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { CHARACTER } from "../../text/testing/character.ts";
import {
  type FlagKind,
  FlagSyntaxError,
  FlagValueError,
  parseFlags,
  parseValue,
  quote,
} from "./flag_syntax.ts";

const KINDS: Record<string, FlagKind> = {
  "etcd-endpoints": "string",
  "iface": "string",
  "ip-masq": "bool",
  "margin": "int",
  "v": "int",
};
const kindOf = (name: string): FlagKind | undefined =>
  Object.hasOwn(KINDS, name) ? KINDS[name] : undefined;
const parse = (...words: string[]) => parseFlags(words, kindOf);
const values = (...words: string[]) =>
  parse(...words).flags.map(({ name, value }) => [name, value]);

Deno.test("parseFlags() takes one dash or two, and a value after = or in the next word", () => {
  const wanted = [["iface", "eth1"]];
  assertEquals(values("-iface=eth1"), wanted);
  assertEquals(values("--iface=eth1"), wanted);
  assertEquals(values("-iface", "eth1"), wanted);
  assertEquals(values("--iface", "eth1"), wanted);
});

Deno.test("parseFlags() cuts at the first = and keeps the others", () => {
  assertEquals(values("-iface=a=b="), [["iface", "a=b="]]);
  assertEquals(values("-iface="), [["iface", ""]]);
});

Deno.test("parseFlags() takes the next word as a value even when it looks like a flag", () => {
  assertEquals(values("-iface", "-ip-masq", "-margin", "-5", "-etcd-endpoints", "--"), [
    ["iface", "-ip-masq"],
    ["margin", -5],
    ["etcd-endpoints", "--"],
  ]);
});

Deno.test("parseFlags() never gives a boolean the next word", () => {
  const parsed = parse("-ip-masq", "false", "-v=1");
  assertEquals(parsed.flags, [{ name: "ip-masq", value: true, text: "true" }]);
  assertEquals(parsed.rest, ["false", "-v=1"]);
});

Deno.test("parseFlags() keeps every occurrence of a flag, in order", () => {
  assertEquals(values("-iface=a", "-ip-masq", "-iface", "b"), [
    ["iface", "a"],
    ["ip-masq", true],
    ["iface", "b"],
  ]);
});

Deno.test("parseFlags() stops at the first word that is no flag, and after --", () => {
  assertEquals(parse("-v=1", "status", "-v=2").rest, ["status", "-v=2"]);
  assertEquals(parse("-v=1", "--", "-v=2").rest, ["-v=2"]);
  assertEquals(parse("-v=1", "-", "-v=2").rest, ["-", "-v=2"]);
  assertEquals(parse("-v=1", "", "-v=2").rest, ["", "-v=2"]);
  assertEquals(parse().rest, []);
});

Deno.test("parseFlags() refuses words in Go's words", () => {
  const cases: [string[], string][] = [
    [["-nosuch"], "flag provided but not defined: -nosuch"],
    [["--nosuch=secret"], "flag provided but not defined: -nosuch"],
    [["-constructor"], "flag provided but not defined: -constructor"],
    [["-margin", "abc"], 'invalid value "abc" for flag -margin: parse error'],
    [["-margin="], 'invalid value "" for flag -margin: parse error'],
    [
      ["-margin=9223372036854775808"],
      'invalid value "9223372036854775808" for flag -margin: value out of range',
    ],
    [["-ip-masq=yes"], 'invalid boolean value "yes" for -ip-masq: parse error'],
    [["-margin"], "flag needs an argument: -margin"],
    [["---margin=1"], "bad flag syntax: ---margin=1"],
    [["-=1"], "bad flag syntax: -=1"],
    [["--=1"], "bad flag syntax: --=1"],
  ];
  for (const [words, message] of cases) {
    const error = assertThrows(() => parse(...words), FlagSyntaxError);
    assertEquals(error.message, message);
  }
});

Deno.test("parseValue() reads exactly the boolean words of strconv.ParseBool", () => {
  for (const text of ["1", "t", "T", "TRUE", "true", "True"]) {
    assertEquals(parseValue("bool", text), true, text);
  }
  for (const text of ["0", "f", "F", "FALSE", "false", "False"]) {
    assertEquals(parseValue("bool", text), false, text);
  }
  for (const text of ["", "yes", "no", "on", "tRUE", " true", "2", "constructor", "__proto__"]) {
    assertThrows(() => parseValue("bool", text), FlagValueError, "parse error", text);
  }
});

Deno.test("parseValue() reads Go's integer literals", () => {
  const good: [string, number][] = [
    ["0", 0],
    ["-0", 0],
    ["60", 60],
    ["+60", 60],
    ["-60", -60],
    ["0x3C", 60],
    ["0X3c", 60],
    ["074", 60],
    ["0o74", 60],
    ["0O74", 60],
    ["0b111100", 60],
    ["0B11_1100", 60],
    ["1_000", 1000],
    ["0_7", 7],
    ["0x_ff", 255],
    ["-0x10", -16],
    ["9223372036854775807", 2 ** 63],
    ["-9223372036854775808", -(2 ** 63)],
  ];
  for (const [text, value] of good) {
    assertEquals(parseValue("int", text) as number + 0, value, text);
  }
  const bad = ["", "+", "-", "abc", "1.5", "1e3", " 1", "1 ", "08", "0x", "0b2", "0o8", "_1", "1_"];
  for (const text of [...bad, "1__0", "0_", "0x__1", "--1", "1n", "٣", "0xg", "Infinity", "1\n"]) {
    assertThrows(() => parseValue("int", text), FlagValueError, "parse error", text);
  }
  for (const text of ["9223372036854775808", "-9223372036854775809", "0x1" + "0".repeat(16)]) {
    assertThrows(() => parseValue("int", text), FlagValueError, "value out of range", text);
  }
});

Deno.test("parseFlags() reads back whatever was written as one word", () => {
  const flag = fc.oneof(
    fc.tuple(fc.constantFrom("iface", "etcd-endpoints"), fc.string({ unit: CHARACTER })),
    fc.tuple(fc.constantFrom("margin", "v"), fc.maxSafeInteger()),
    fc.tuple(fc.constant("ip-masq"), fc.boolean()),
  );
  fc.assert(fc.property(fc.array(flag), fc.array(fc.string()), (flags, rest) => {
    const words = flags.map(([name, value]) => `-${name}=${value}`);
    const parsed = parse(...words, "--", ...rest);
    assertEquals(parsed.flags.map(({ name, value }) => [name, value]), flags);
    assertEquals(parsed.rest, rest);
  }));
});

Deno.test("parseFlags() throws nothing but FlagSyntaxError, and loses no word", () => {
  const word = fc.oneof(
    fc.string({ unit: CHARACTER }),
    fc.stringMatching(/^-{0,3}(iface|ip-masq|margin|v|x)?=?[0-9a-z_.-]{0,4}$/),
  );
  fc.assert(
    fc.property(fc.array(word), (words) => {
      try {
        const { rest } = parseFlags(words, kindOf);
        assertEquals(rest, words.slice(words.length - rest.length));
      } catch (error) {
        if (!(error instanceof FlagSyntaxError)) throw error;
      }
    }),
    { numRuns: 500 },
  );
});

Deno.test("quote() writes what Go's %q writes", () => {
  const cases: [string, string][] = [
    ["abc", '"abc"'],
    ['a"b\\c', '"a\\"b\\\\c"'],
    ["\x07\b\f\n\r\t\v", '"\\a\\b\\f\\n\\r\\t\\v"'],
    ["\x00\x1b\x7f", '"\\x00\\x1b\\x7f"'],
    ["\u00a0\u200b\ufeff", '"\\u00a0\\u200b\\ufeff"'],
    ["\u{e0001}", '"\\U000e0001"'],
    ["网络 é😀", '"网络 é😀"'],
  ];
  for (const [text, wanted] of cases) assertEquals(quote(text), wanted);
});

Deno.test("quote() always fits on one line", () => {
  fc.assert(
    fc.property(fc.string({ unit: CHARACTER }), (text) => !/\p{C}|(?! )\p{Z}/u.test(quote(text))),
  );
});
