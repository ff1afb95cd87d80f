/**
 * One of the checks of `deno task ok`: fails on documents that name what is not there, on a
 * docs/architecture.md whose table of folders and graph are not those of the tree, and on words that the
 * project does not use (`word_rules.ts`).
 *
 * Usage: `deno run -A scripts/checks/check_docs.ts [--write]`; `--write` brings docs/architecture.md up to date.
 *
 * @module
 */
import { FLAGS } from "../../mod/cli/flags/flags.ts";
import { SUBCOMMANDS } from "../../mod/cli/commands/subcommands.ts";
import { type DocFacts, docProblems } from "./doc_rules.ts";
import {
  ARCHITECTURE,
  architectureSection,
  importsByLayer,
  readFolders,
  replaceSection,
} from "./architecture.ts";
import { listSources, projectRoot, readModuleGraph } from "./module_graph.ts";
import { hasWordRules, treeWordProblems } from "./word_rules.ts";

/** Directories with documents. */
const ROOTS = [".", "docs", "docs/decisions"];

/** The flags of subcommands, as their sources declare them. */
const OWN_FLAG = /\bname: "([a-z][a-z-]*)"|"(?:-[a-zA-Z], )?--?([a-z][a-z-]+)(?: <[^>]*>)?"/g;

async function readFacts(root: string): Promise<DocFacts> {
  const flags = new Set<string>(FLAGS.map(({ name }) => name));
  for (const path of await listSources(root, ["mod/cli"])) {
    const text = await Deno.readTextFile(`${root}/${path}`);
    for (const [, own, option] of text.matchAll(OWN_FLAG)) flags.add((own ?? option)!);
  }
  const installer = await Deno.readTextFile(`${root}/scripts/install.sh`);
  const { tasks } = JSON.parse(await Deno.readTextFile(`${root}/deno.json`)) as {
    tasks: Record<string, unknown>;
  };
  return {
    flags,
    subcommands: new Set(SUBCOMMANDS.map(({ name }) => name)),
    tasks: new Set(Object.keys(tasks)),
    installerOptions: new Set(installer.match(/(?<=\s)--[a-z0-9-]+/g)),
    exists: async (path) => {
      try {
        await Deno.stat(`${root}/${path}`);
        return true;
      } catch (error) {
        if (error instanceof Deno.errors.NotFound) return false;
        throw error;
      }
    },
    read: (path) => Deno.readTextFile(`${root}/${path}`),
  };
}

/** Reads the text of each file that git tracks. */
async function readTree(root: string): Promise<[path: string, text: string][]> {
  const { success, stdout } = await new Deno.Command("git", {
    args: ["-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
  }).output();
  if (!success) throw new Error("git ls-files failed: is this a git checkout?");
  const paths = new TextDecoder().decode(stdout).split("\0").filter((path) => path !== "");
  const files: [string, string][] = [];
  for (const path of paths.filter(hasWordRules)) {
    try {
      files.push([path, await Deno.readTextFile(`${root}/${path}`)]);
    } catch (error) {
      // Removed, but not from the index.
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
  return files;
}

async function generateArchitecture(root: string, document: string): Promise<string> {
  const graph = await readModuleGraph(
    root,
    await listSources(root, ["main.ts", "mod", "backends"]),
  );
  const section = architectureSection(await readFolders(root), importsByLayer(graph));
  return replaceSection(document, section);
}

if (import.meta.main) {
  const root = projectRoot();
  const facts = await readFacts(root);
  const paths: string[] = [];
  for (const dir of ROOTS) {
    for await (const { name, isFile } of Deno.readDir(`${root}/${dir}`)) {
      if (isFile && name.endsWith(".md")) paths.push(dir === "." ? name : `${dir}/${name}`);
    }
  }
  const problems: string[] = [];
  const before = await facts.read(ARCHITECTURE);
  const after = await generateArchitecture(root, before);
  if (Deno.args.includes("--write")) await Deno.writeTextFile(`${root}/${ARCHITECTURE}`, after);
  else if (after !== before) {
    problems.push(
      `${ARCHITECTURE}: the table of folders or the graph is not that of the tree; run deno task docs:write`,
    );
  }
  for (const path of paths.sort()) {
    problems.push(...await docProblems(path, await facts.read(path), facts));
  }
  problems.push(...treeWordProblems(await readTree(root)));
  for (const line of problems) console.error(line);
  if (problems.length > 0) Deno.exit(1);
  console.log(`${paths.length} documents: links, paths, commands, flags and words are right`);
}
