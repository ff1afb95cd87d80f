import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { CHARACTER } from "../../text/testing/character.ts";
import { compileGoRegExp } from "./go_regexp.ts";

Deno.test("compileGoRegExp() finds what Go's regexp finds", () => {
  const cases: [expression: string, finds: string[], misses: string[]][] = [
    ["^eth1$", ["eth1"], ["eth10", "xeth1"]],
    ["eth", ["eth0", "veth3"], ["ens3"]],
    ["en[sp].*", ["ens3", "enp0s8"], ["eno1"]],
    ["172\\.28\\..*", ["172.28.128.100"], ["172x28y1"]],
    ["^10\\.(20|30)\\.", ["10.20.1.1", "10.30.0.9"], ["10.40.1.1"]],
    ["(?i)ETH1", ["eth1", "Eth1"], ["eth2"]],
    ["(?i:ETH)1", ["eth1"], ["eth2"]],
    ["(?P<kind>en|eth)\\d+", ["en0", "eth1"], ["wlan0"]],
    ["\\Aeth0\\z", ["eth0"], ["eth0\n", "veth0"]],
    ["(?m)^b$", ["a\nb"], ["ab"]],
    ["(?s)a.b", ["a\nb"], ["ab"]],
    ["\\Qa.b\\E+", ["a.b", "a.bb"], ["axb"]],
    ["\\Q[(", ["x[("], ["x("]],
    ["^[[:alpha:]]+[[:digit:]]$", ["eth0"], ["0eth", "e-0"]],
    ["^[^[:space:]-]+$", ["eth0"], ["eth 0", "eth-0"]],
    ["^[]a]$", ["]", "a"], ["b"]],
    ["^[^]a]$", ["b"], ["]", "a"]],
    ["^[a[]$", ["[", "a"], ["b"]],
    ["^br\\-[0-9a-f]{12}$", ["br-0123456789ab"], ["br-01234567"]],
    ["^a\\_b$", ["a_b"], ["ab"]],
    ["^a{,2}$", ["a{,2}"], ["aa"]],
    ["^a{x}]$", ["a{x}]"], ["a"]],
    ["^\\x{65}th\\060\\x31$", ["eth01"], ["eth0"]],
    ["^\\pL+$", ["eth"], ["eth0"]],
    ["^[\\w\\-.]+$", ["eth0.100", "br-a"], ["eth0@if3"]],
    ["^vlan\\/1$", ["vlan/1"], ["vlan1"]],
  ];
  for (const [expression, finds, misses] of cases) {
    const compiled = compileGoRegExp(expression);
    for (const text of finds) assertEquals(compiled.test(text), true, `${expression} in ${text}`);
    for (const text of misses) assertEquals(compiled.test(text), false, `${expression} in ${text}`);
  }
});

Deno.test("compileGoRegExp() refuses what Go refuses, with the reason alone", () => {
  const cases: [string, string][] = [
    ["eth(", "unterminated group"],
    ["eth)", "unmatched ')'"],
    ["eth[0-9", 'a "[" has no "]"'],
    ["[z-a]", "range out of order in character class"],
    ["*", "nothing to repeat"],
    ["eth**", "nothing to repeat"],
    ["eth\\", "it ends with a backslash"],
    ["(?=eth)", '"(?=e" is not known in Go\'s regular expressions'],
    ["(?<!v)eth", '"(?<!" is not known in Go\'s regular expressions'],
    ["(e)\\1", '"\\1" is not known in Go\'s regular expressions'],
    ["\\y", '"\\y" is not known in Go\'s regular expressions'],
    ["[[:letter:]]", '"[:letter:]" is not a class'],
    ["[\\b]", '"\\b" cannot stand between brackets'],
  ];
  for (const [expression, message] of cases) {
    const error = assertThrows(() => compileGoRegExp(expression), SyntaxError);
    assertEquals(error.message, message, expression);
  }
});

Deno.test("compileGoRegExp() finds any text that \\Q quotes or that escapes write", () => {
  const text = fc.string({
    unit: fc.integer({ min: 32, max: 126 }).map((c) => String.fromCharCode(c)),
  });
  fc.assert(fc.property(text, (sample) => {
    const escaped = sample.replaceAll(/[^0-9A-Za-z ]/g, "\\$&");
    assertEquals(compileGoRegExp(`^${escaped}$`).test(sample), true);
    if (!sample.includes("\\E")) {
      assertEquals(compileGoRegExp(`^\\Q${sample}\\E$`).test(sample), true);
    }
  }));
});

Deno.test("compileGoRegExp() throws nothing but SyntaxError", () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.string({ unit: CHARACTER })), (expression) => {
      try {
        compileGoRegExp(expression).test("eth0");
      } catch (error) {
        if (!(error instanceof SyntaxError)) throw error;
      }
    }),
    { numRuns: 1000 },
  );
});
