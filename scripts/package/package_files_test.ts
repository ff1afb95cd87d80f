import { assert, assertEquals } from "@std/assert";
import { brokenLinks } from "../checks/doc_rules.ts";
import { projectRoot } from "../checks/module_graph.ts";
import { documentFiles, DOCUMENTS } from "./package_files.ts";

Deno.test("documentFiles() holds the whole folder docs, and every link of its documents works in it", async () => {
  const files = new Map<string, string>();
  for (const { path, content } of await documentFiles(projectRoot())) {
    assert(path.startsWith(`${DOCUMENTS}/`), path);
    files.set(path.slice(DOCUMENTS.length + 1), content);
  }
  const { stdout } = await new Deno.Command("git", {
    args: ["-C", projectRoot(), "ls-files", "docs"],
  }).output();
  for (const path of new TextDecoder().decode(stdout).trim().split("\n")) {
    assert(files.has(path), path);
  }
  const facts = {
    // A link may lead to a folder.
    exists: (at: string) =>
      Promise.resolve([...files.keys()].some((path) => `${path}/`.startsWith(`${at}/`))),
    read: (at: string) => Deno.readTextFile(files.get(at)!),
  };
  const broken: string[] = [];
  for (const path of files.keys()) {
    if (!path.endsWith(".md")) continue;
    const problems = await brokenLinks(path, await facts.read(path), facts);
    broken.push(...problems.map((problem) => `${path}: ${problem}`));
  }
  assertEquals(broken, []);
});
