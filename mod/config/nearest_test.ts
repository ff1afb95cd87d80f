import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { editDistance, nearest } from "./nearest.ts";

Deno.test("nearest() finds the flag that was meant", () => {
  const flags = ["iface", "iface-regex", "ip-masq", "etcd-endpoints", "v"];
  const cases: [string, string | undefined][] = [
    ["ifcae", "iface"],
    ["iface-regexp", "iface-regex"],
    ["ipmasq", "ip-masq"],
    ["etcd-endpoint", "etcd-endpoints"],
    ["etcd_endpoints", "etcd-endpoints"],
    ["nosuch", undefined],
    ["w", undefined],
    ["", undefined],
  ];
  for (const [word, wanted] of cases) assertEquals(nearest(word, flags), wanted, word);
});

Deno.test("nearest() takes the first of several equally near", () => {
  assertEquals(nearest("abcd", ["abce", "abcf"]), "abce");
});

Deno.test("editDistance() counts edits", () => {
  const cases: [string, string, number][] = [
    ["", "", 0],
    ["", "abc", 3],
    ["abc", "", 3],
    ["abc", "abc", 0],
    ["abc", "acb", 1],
    ["kitten", "sitting", 3],
    ["ca", "abc", 3],
  ];
  for (const [a, b, wanted] of cases) assertEquals(editDistance(a, b), wanted, `${a} ${b}`);
});

Deno.test("editDistance() is symmetric, zero only for equals, at most the longer length", () => {
  const word = fc.string({ maxLength: 8, unit: fc.constantFrom("a", "b", "-") });
  fc.assert(fc.property(word, word, (a, b) => {
    const distance = editDistance(a, b);
    assertEquals(distance, editDistance(b, a));
    assertEquals(distance === 0, a === b);
    assertEquals(distance <= Math.max(a.length, b.length), true);
    assertEquals(distance >= Math.abs(a.length - b.length), true);
  }));
});
