/**
 * One of the checks of `deno task ok`: fails on circular imports, on imports that point up, and on crowded
 * folders.
 *
 * Usage: `deno run -A scripts/checks/check_imports.ts`
 *
 * @module
 */
import { brokenRules, crowdedFolders, findCycles } from "./import_rules.ts";
import { listFiles, listSources, projectRoot, readModuleGraph } from "./module_graph.ts";

if (import.meta.main) {
  const root = projectRoot();
  const sources = await listSources(root, ["main.ts", "mod", "backends"]);
  const graph = await readModuleGraph(root, sources).catch((error: Error) => {
    console.error(error.message);
    Deno.exit(1);
  });
  const complaints = [
    ...findCycles(graph).map((cycle) => `circular import: ${cycle.join(" -> ")}`),
    ...brokenRules(graph),
    ...crowdedFolders(
      await listFiles(root, ["mod", "backends", "tests", "bench", "scripts", "docs"]),
    ),
  ];
  for (const line of complaints) console.error(line);
  if (complaints.length > 0) Deno.exit(1);
  console.log(`${graph.size} modules: no circular import, none that points up, no crowded folder`);
}
