/**
 * The part of docs/architecture.md that is generated: the table of folders, from their module comments,
 * and the graph of their imports.
 *
 * @module
 */
import { FOLDERS, isTestFile, layerOf, LAYERS } from "./import_rules.ts";
import { markdownTable } from "./generated.ts";
import type { ModuleGraph } from "./module_graph.ts";

/** The document with the generated part. */
export const ARCHITECTURE = "docs/architecture.md";

/** A row of the table. */
export interface Folder {
  readonly path: string;
  /** One sentence, without its full stop. */
  readonly purpose: string;
  /** Names of its folders. */
  readonly parts: readonly string[];
}

/**
 * Reads the folders of the tree.
 *
 * @param root the project's, without a trailing slash
 * @throws {Error} for a folder without a sentence
 */
export async function readFolders(root: string): Promise<Folder[]> {
  const folders: Folder[] = [];
  for (const path of [...LAYERS.keys(), ...FOLDERS.keys()]) {
    if (folders.some((folder) => folder.path === path)) continue;
    const purpose = FOLDERS.get(path) ?? moduleSentence(
      await Deno.readTextFile(`${root}/${path}/mod.ts`).catch(() => ""),
    );
    if (purpose === undefined) {
      throw new Error(
        `${path} has no sentence: begin ${path}/mod.ts with a module comment, or add the folder to ` +
          "FOLDERS in scripts/checks/import_rules.ts",
      );
    }
    folders.push({ path, purpose, parts: await listParts(`${root}/${path}`) });
  }
  return folders.sort((a, b) => a.path < b.path ? -1 : 1);
}

async function listParts(directory: string): Promise<string[]> {
  if (!(await Deno.stat(directory)).isDirectory) return [];
  const parts: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(directory)) {
    if (isDirectory && name !== "testing") parts.push(name);
  }
  return parts.sort();
}

/** The first sentence of a module comment, on one line; `undefined` without one. */
export function moduleSentence(source: string): string | undefined {
  const comment = /^\/\*\*\n((?: \*.*\n)*?) \* @module\n/.exec(source)?.[1];
  const text = comment?.replace(/^ \* ?/gm, "").replace(/\s+/g, " ").trim() ?? "";
  const sentence = /^(.+?)(\.( |$)|$)/.exec(text)?.[1];
  return sentence === "" ? undefined : sentence;
}

/** The layers that each layer imports, types included. */
export function importsByLayer(graph: ModuleGraph): Map<string, Set<string>> {
  const found = new Map([...LAYERS.keys()].map((layer) => [layer, new Set<string>()]));
  for (const { path, imports } of graph.values()) {
    const from = layerOf(path);
    if (from === undefined || isTestFile(path)) continue;
    for (const { to } of imports) {
      const layer = layerOf(to);
      if (layer !== undefined && layer !== from && !isTestFile(to)) found.get(from)!.add(layer);
    }
  }
  return found;
}

/** Writes the table and the graph, as `deno fmt` leaves them. */
export function architectureSection(
  folders: readonly Folder[],
  imports: ReadonlyMap<string, ReadonlySet<string>>,
): string {
  const rows = folders.map(({ path, purpose, parts }) => [
    `\`${path}\``,
    purpose + (parts.length > 0 ? ` (${parts.join(", ")})` : ""),
  ]);
  return `${markdownTable([["folder", "purpose, and its folders"], ...rows])}
\`deno task circular\` holds the direction of imports. An arrow means "imports"; an arrow that follows
from two others is left out.

\`\`\`mermaid
${layerGraph(imports)}\`\`\`
`;
}

/** The graph of the layers: who imports whom, without what follows from the rest. */
export function layerGraph(imports: ReadonlyMap<string, Iterable<string>>): string {
  const name = (layer: string) => layer.replace(/^mod\//, "").replace(/\.ts$/, "");
  const reach = (from: string): Set<string> => {
    const seen = new Set<string>(imports.get(from));
    for (const layer of seen) for (const to of imports.get(layer) ?? []) seen.add(to);
    return seen;
  };
  const lines: string[] = [];
  for (const [layer, targets] of imports) {
    const all = [...targets];
    const direct = all.filter((to) => !all.some((other) => other !== to && reach(other).has(to)));
    for (const to of direct.sort()) lines.push(`  ${name(layer)} --> ${name(to)}`);
  }
  return `graph TD\n${lines.join("\n")}\n`;
}
