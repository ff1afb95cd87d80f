import { assertEquals, assertRejects } from "@std/assert";
import { listSources, projectRoot, readModuleGraph } from "./module_graph.ts";

/** Runs `test` on a project of these files. */
async function withProject(
  files: Record<string, string>,
  test: (root: string) => Promise<void>,
): Promise<void> {
  const root = await Deno.makeTempDir();
  try {
    for (const [path, text] of Object.entries({ "deno.json": '{"lock": false}', ...files })) {
      await Deno.mkdir(`${root}/${path}`.replace(/\/[^/]*$/, ""), { recursive: true });
      await Deno.writeTextFile(`${root}/${path}`, text);
    }
    await test(root);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

Deno.test("readModuleGraph() follows static, dynamic and type imports", async () => {
  await withProject({
    "main.ts": `
      import { a } from "./mod/a b.ts";
      import type { T } from "./mod/types.ts";
      console.log(a satisfies T, await import("./mod/late.ts"), import.meta.url);`,
    "mod/a b.ts": "export const a = 1;",
    "mod/types.ts": "export type T = number;",
    "mod/late.ts": "export {};",
    "mod/unused.ts": "export {};",
  }, async (root) => {
    const graph = await readModuleGraph(root, ["main.ts"]);
    assertEquals([...graph.keys()].sort(), [
      "main.ts",
      "mod/a b.ts",
      "mod/late.ts",
      "mod/types.ts",
    ]);
    assertEquals(graph.get("main.ts")!.imports, [
      { to: "mod/a b.ts", typeOnly: false },
      { to: "mod/types.ts", typeOnly: true },
      { to: "mod/late.ts", typeOnly: false },
    ]);
  });
});

Deno.test("readModuleGraph() knows what comes from npm, and by which specifier", async () => {
  const graph = await readModuleGraph(projectRoot(), ["mod/config/cidr.ts"]);
  const { npm, specifiers } = graph.get("mod/config/cidr.ts")!;
  assertEquals(npm.map((specifier) => specifier.replace(/@.*/, "")), ["npm:ip-cidr"]);
  assertEquals(specifiers.toSorted(), ["../ip/mod.ts", "../text/mod.ts", "./errors.ts", "ip-cidr"]);
});

Deno.test("readModuleGraph() fails on an import that leads nowhere", async () => {
  await withProject({ "main.ts": 'import "./gone.ts";' }, async (root) => {
    await assertRejects(() => readModuleGraph(root, ["main.ts"]), Error, "gone.ts");
  });
});

Deno.test("listSources() lists TypeScript below directories", async () => {
  await withProject({ "main.ts": "", "mod/b/x.ts": "", "mod/a.ts": "", "mod/a.json": "" }, async (
    root,
  ) => {
    assertEquals(await listSources(root, ["mod", "main.ts"]), [
      "main.ts",
      "mod/a.ts",
      "mod/b/x.ts",
    ]);
  });
});
