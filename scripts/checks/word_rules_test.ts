import { assertEquals } from "@std/assert";
import { hasWordRules, wordProblems } from "./word_rules.ts";

Deno.test("wordProblems() names the line, the word and the word to use", () => {
  assertEquals(wordProblems("mod/x.ts", "const a = 1;\n// Begins anew.\n"), [
    'mod/x.ts:2: "anew": again',
  ]);
  assertEquals(wordProblems("docs/x.md", "The agent tells systemd.\n"), [
    'docs/x.md:1: "tells": report, log, return, show',
  ]);
});

Deno.test("wordProblems() finds words in identifiers, messages, names of tests and shell", () => {
  const found = (path: string, text: string) => wordProblems(path, text).length;
  assertEquals(found("mod/x.ts", "const PATIENCE = 5_000;\n"), 1);
  assertEquals(found("mod/x.ts", 'info("all is told");\n'), 1);
  assertEquals(found("mod/x.ts", "warning(`${n} echoes`);\n"), 1);
  assertEquals(found("mod/x.ts", "import { findLeftovers } from './x.ts';\n"), 1);
  assertEquals(found("scripts/x.sh", "# Exit codes: 2 wrong command line\n"), 1);
});

Deno.test("wordProblems() rejects some words in comments, documents and messages only", () => {
  assertEquals(wordProblems("mod/x.ts", 'problem("the config says udp"); say();\n').length, 1);
  assertEquals(wordProblems("mod/x.ts", 'const says = "hello"; // prints it\n'), []);
  assertEquals(wordProblems("mod/x.ts", "const a = /says/; // prints it\n"), []);
  assertEquals(wordProblems("mod/x.ts", "/** The log says why. */\n").length, 1);
  assertEquals(wordProblems("docs/x.md", "The log says why.\n").length, 1);
});

Deno.test("wordProblems() accepts the field's own words", () => {
  const text = "// The next hop, an ICMP echo request, Promise.allSettled, IMDSv2's hop limit.\n";
  assertEquals(wordProblems("mod/x.ts", text), []);
});

Deno.test('wordProblems() rejects sentences that begin with "What" or "Who", but for questions', () => {
  const rejected = [
    "/** What it does. */\n",
    "/**\n * What it does.\n */\n",
    "  // Who has it.\n",
    "# What it does.\n",
  ];
  for (const text of rejected) {
    const path = text.startsWith("#") ? "scripts/x.sh" : "mod/x.ts";
    assertEquals(wordProblems(path, text).length, 1, text);
  }
  assertEquals(
    wordProblems("mod/x.ts", "/**\n * Serves it.\n * What it takes\n * is loaded.\n */\n"),
    [
      'mod/x.ts:3: "What": begin with a verb or a noun phrase',
    ],
  );
  for (const text of ["Denies it. What limits\nit is a unit.\n", "# A\n\nWhat it had.\n"]) {
    assertEquals(wordProblems("docs/x.md", text).length, 1, text);
  }
  for (const text of ["# What it runs on\n", "**What if etcd is down?** It waits.\n"]) {
    assertEquals(wordProblems("docs/x.md", text), [], text);
  }
  const accepted = ["// What is it?\n", "/**\n * Shows\n * What is shown.\n */\n", '"// What"\n'];
  for (const text of accepted) assertEquals(wordProblems("mod/x.ts", text), [], text);
});

Deno.test("wordProblems() accepts former names that the changelog quotes", () => {
  assertEquals(wordProblems("CHANGELOG.md", "- `warnings` replaces `troubles`.\n"), []);
  assertEquals(wordProblems("CHANGELOG.md", "- It tells more.\n").length, 1);
});

Deno.test("hasWordRules() leaves out the list itself", () => {
  assertEquals(hasWordRules("scripts/checks/word_rules.ts"), false);
  assertEquals(hasWordRules("mod/lease/value.ts"), true);
});
