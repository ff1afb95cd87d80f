import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { CHARACTER } from "../text/testing/character.ts";
import { doubleQuote, parseDotenv } from "./dotenv.ts";

Deno.test("parseDotenv() reads assignments as a shell would", () => {
  const cases: [string, Record<string, string>][] = [
    ["", {}],
    ["A=1", { A: "1" }],
    ["A=1\nB=2\n", { A: "1", B: "2" }],
    ["A=1\r\nB=2\r\n", { A: "1", B: "2" }],
    ["export A=1\n\texport\tB=2", { A: "1", B: "2" }],
    ['A="x y"\nB=\'x "y"\'\n', { A: "x y", B: 'x "y"' }],
    ["A=x\"y z\"'w'v", { A: "xy zwv" }],
    ["# A=1\n\n  # B=2\nC=3 # D=4\n", { C: "3" }],
    ["A=a#b", { A: "a#b" }],
    ["A=\nB=''\n", { A: "", B: "" }],
    ['A=x\\ y\nB="\\$x \\z"', { A: "x y", B: "$x \\z" }],
    ["A='\\'\nB=1", { A: "\\", B: "1" }],
    ['A="two\nlines"\nB=1', { A: "two\nlines", B: "1" }],
    ["A=on\\\ne\nB=1", { A: "one", B: "1" }],
    ["A=1\nA=2", { A: "2" }],
    ["A=1; B=2", { A: "1" }],
    ["A =1\n1A=2\nif x\nB-C=1\n=3\nD=4", { D: "4" }],
    ['A="never closed\nB=1', { A: "never closed\nB=1" }],
    ["A=x\\", { A: "x" }],
    ["A=$B", { A: "$B" }],
  ];
  for (const [text, wanted] of cases) {
    assertEquals(Object.fromEntries(parseDotenv(text)), wanted, text);
  }
});

Deno.test("parseDotenv() reads back what doubleQuote() wrote", () => {
  const name = fc.stringMatching(/^[A-Za-z_][A-Za-z0-9_]{0,8}$/);
  const value = fc.string({ unit: CHARACTER }).filter((text) => !text.includes("\r\n"));
  fc.assert(fc.property(fc.array(fc.tuple(name, value)), (pairs) => {
    const text = pairs.map(([name, value]) => `${name}=${doubleQuote(value)}\n`).join("");
    assertEquals(parseDotenv(text), new Map(pairs));
  }));
});

Deno.test("parseDotenv() ends, without an exception, on any text", () => {
  const text = fc.string({ unit: fc.constantFrom("A", "=", '"', "'", "\\", "\n", " ", "#", "$") });
  fc.assert(fc.property(text, (sample) => parseDotenv(sample).size >= 0), { numRuns: 1000 });
});
