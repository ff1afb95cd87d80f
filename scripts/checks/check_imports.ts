/**
 * Part of the gate: fails on circular imports and on imports that point up the house.
 *
 * Usage: `deno run -A scripts/checks/check_imports.ts`
 *
 * @module
 */
import { brokenRules, findCycles } from "./import_rules.ts";
import { listSources, projectRoot, readModuleGraph } from "./module_graph.ts";

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
  ];
  for (const line of complaints) console.error(line);
  if (complaints.length > 0) Deno.exit(1);
  console.log(`${graph.size} modules: no circular import, none that points up`);
}
