import { assertEquals, assertThrows } from "@std/assert";
import { architectureSection, importsByLayer, layerGraph, moduleSentence } from "./architecture.ts";
import { replaceSection } from "./generated.ts";

const IMPORTS = new Map([
  ["mod/ip", new Set<string>()],
  ["mod/sys", new Set(["mod/ip"])],
  ["mod/cli", new Set(["mod/ip", "mod/sys"])],
]);

Deno.test("moduleSentence() is the first sentence of a module comment", () => {
  assertEquals(
    moduleSentence(
      "/**\n * IPv4 addresses, of RFC 791,\n * as numbers. No more.\n *\n * @module\n */\n",
    ),
    "IPv4 addresses, of RFC 791, as numbers",
  );
  assertEquals(moduleSentence("/** Adds. */\nexport const a = 1;\n"), undefined);
  assertEquals(moduleSentence(""), undefined);
});

Deno.test("importsByLayer() counts imports of types, and none of tests", () => {
  const module = (path: string, to: string, typeOnly: boolean) =>
    [path, { path, imports: [{ to, typeOnly }], npm: [], specifiers: [] }] as const;
  const graph = new Map([
    module("mod/host/a.ts", "mod/sys/b.ts", true),
    module("mod/ip/a_test.ts", "mod/cli/b.ts", false),
    module("mod/ip/c.ts", "mod/ip/b.ts", false),
  ]);
  const found = [...importsByLayer(graph)].filter(([, to]) => to.size > 0);
  assertEquals(found.map(([from, to]) => [from, [...to]]), [["mod/host", ["mod/sys"]]]);
});

Deno.test("layerGraph() leaves out what follows from the rest", () => {
  assertEquals(layerGraph(IMPORTS), "graph TD\n  sys --> ip\n  cli --> sys\n");
});

Deno.test("replaceSection() puts a table and a graph between its marks", () => {
  const folders = [{ path: "mod/ip", purpose: "Addresses", parts: ["a", "b"] }];
  const begin = "<!-- begin: written by deno task docs:write -->\n";
  const end = "<!-- end: written by deno task docs:write -->\n";
  const section = architectureSection(folders, IMPORTS);
  const document = replaceSection(`# A\n\n${begin}old\n${end}\nmore\n`, section);
  assertEquals(
    document.split("\n").slice(3, 8),
    [
      "",
      "| folder   | purpose, and its folders |",
      "| -------- | ------------------------ |",
      "| `mod/ip` | Addresses (a, b)         |",
      "",
    ],
  );
  assertEquals(replaceSection(document, section), document);
  assertThrows(() => replaceSection("# A\n", section), Error, "has no lines");
});
