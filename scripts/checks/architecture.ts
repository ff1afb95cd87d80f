/**
 * The part of docs/architecture.md that is generated: the table of folders, from their module comments,
 * and the graph of their imports.
 *
 * @module
 */
import { FOLDERS, isTestFile, layerOf, LAYERS } from "./import_rules.ts";
import type { ModuleGraph } from "./module_graph.ts";

/** The document with the generated part. */
export const ARCHITECTURE = "docs/architecture.md";

const BEGIN = "<!-- begin: written by deno task docs:write -->\n";
const END = "<!-- end: written by deno task docs:write -->\n";

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

function markdownTable(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell, column) => cell.padEnd(widths[column]!)).join(" | ")} |\n`;
  const [head, ...body] = rows;
  return line(head!) + line(widths.map((width) => "-".repeat(width))) + body.map(line).join("");
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

/**
 * Puts a section in the place of the generated part.
 *
 * @throws {Error} when the document does not mark where that is
 */
export function replaceSection(document: string, section: string): string {
  const begin = document.indexOf(BEGIN);
  const end = document.indexOf(END);
  if (begin < 0 || end < begin) {
    throw new Error(`${ARCHITECTURE} has no lines ${BEGIN.trim()} and ${END.trim()}`);
  }
  return `${document.slice(0, begin)}${BEGIN}\n${section}\n${document.slice(end)}`;
}
