import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { CHARACTER } from "../../text/testing/character.ts";
import { splitWords } from "./words.ts";

Deno.test("splitWords() cuts as systemd does", () => {
  // Arguments from systemd 257 to a program that was started with $FLANNEL_OPTIONS.
  const cases: [string, string[]][] = [
    ["", []],
    [" \t\r\n ", []],
    ["-iface=eth1", ["-iface=eth1"]],
    ["  -iface  eth1\t-ip-masq\n", ["-iface", "eth1", "-ip-masq"]],
    [`'one' "two two" too`, ["one", "two two", "too"]],
    [`-iface="eth 1"x`, ["-iface=eth 1x"]],
    [`a "" ''`, ["a", "", ""]],
    [`"it's"`, ["it's"]],
    [`'run "it"'`, ['run "it"']],
    ["a\\ b", ["a b"]],
    [`"a\\"b"`, ['a"b']],
    [`eth\\\\d`, ["eth\\d"]],
    [`"open`, ["open"]],
    [`"`, [""]],
    ["dangling\\", ["dangling"]],
    ["\\", [""]],
    ['"a\\', ["a"]],
    ["a\\tb", ["atb"]],
    ['a"b c"d e', ["ab cd", "e"]],
    ['-iface-regex="^eth\\d+$"', ["-iface-regex=^ethd+$"]],
  ];
  for (const [text, words] of cases) assertEquals(splitWords(text), words, text);
});

Deno.test("splitWords() reads back words that are quoted", () => {
  fc.assert(fc.property(fc.array(fc.string({ unit: CHARACTER })), (words) => {
    const text = words.map((word) => `"${word.replaceAll(/["\\]/g, "\\$&")}"`).join("  ");
    assertEquals(splitWords(text), words);
  }));
});
