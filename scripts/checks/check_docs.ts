/**
 * One of the checks of `deno task ok`: fails on documents that name what is not there, and on generated parts that
 * are not those of the code.
 *
 * Usage: `deno run -A scripts/checks/check_docs.ts [--write]`; `--write` brings the generated parts up to date.
 *
 * @module
 */
import { FLAGS } from "../../mod/cli/flags/flags.ts";
import { SUBCOMMANDS } from "../../mod/cli/commands/subcommands.ts";
import { blockProblems } from "./doc_blocks.ts";
import { type DocFacts, docProblems } from "./doc_rules.ts";
import { ARCHITECTURE, architectureSection, importsByLayer, readFolders } from "./architecture.ts";
import { replaceSection } from "./generated.ts";
import { listFiles, listSources, projectRoot, readModuleGraph } from "./module_graph.ts";
import { exitCodesSection, flagsSection } from "./reference/command_line.ts";
import { configKeyProblems, configKeys } from "./reference/config_keys.ts";
import { metricsSection, readMetrics } from "./reference/metrics.ts";
import { statusSchema } from "./reference/status_schema.ts";

/** Documents of which each block of shell is run by a test or marked. */
const HAS_RUN_BLOCKS = /^README\.md$|^docs\//;

/** The index, which links every page of docs/ but the decisions. */
const INDEX = "docs/README.md";

/** The document of config keys, which is not generated, since no table of keys exists. */
const CONFIG_KEYS = "docs/reference/config.md";

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
    configKeys: await configKeys(),
    metrics: new Set((await readMetrics()).map(({ name }) => name)),
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

/** Generated documents, and what generates each from the present text. */
const GENERATED: Readonly<Record<string, (document: string, root: string) => Promise<string>>> = {
  [ARCHITECTURE]: async (document, root) =>
    replaceSection(document, await generateArchitecture(root)),
  "docs/reference/exit-codes.md": async (document) =>
    replaceSection(document, await exitCodesSection()),
  "docs/reference/flags.md": (document) =>
    Promise.resolve(replaceSection(document, flagsSection())),
  "docs/reference/metrics.md": async (document) => replaceSection(document, await metricsSection()),
  "docs/reference/status.schema.json": async (_, root) => {
    const source = await Deno.readTextFile(`${root}/mod/agent/status/status.ts`);
    return `${JSON.stringify(statusSchema(source, "AgentStatus"), null, 2)}\n`;
  },
};

async function generateArchitecture(root: string): Promise<string> {
  const graph = await readModuleGraph(
    root,
    await listSources(root, ["main.ts", "mod", "backends"]),
  );
  return architectureSection(await readFolders(root), importsByLayer(graph));
}

if (import.meta.main) {
  const root = projectRoot();
  const facts = await readFacts(root);
  const top = Deno.readDirSync(root).filter(({ isFile }) => isFile).map(({ name }) => name);
  const paths = (await listFiles(root, [...top, "docs"])).filter((path) => path.endsWith(".md"));
  const problems: string[] = [];
  for (const [path, generate] of Object.entries(GENERATED)) {
    const before = await facts.read(path);
    const after = await generate(before, root);
    if (after === before) continue;
    if (Deno.args.includes("--write")) await Deno.writeTextFile(`${root}/${path}`, after);
    else {problems.push(
        `${path}: the generated part is not that of the tree; run deno task docs:write`,
      );}
  }
  const index = await facts.read(INDEX);
  for (const path of paths) {
    const [, page] = /^docs\/((?!README|decisions\/).*)$/.exec(path) ?? [];
    if (page === undefined || index.includes(`](${page})`)) continue;
    problems.push(`${INDEX}: no link to ${page}`);
  }
  for (const problem of await configKeyProblems(await facts.read(CONFIG_KEYS))) {
    problems.push(`${CONFIG_KEYS}: ${problem}`);
  }
  const tests: string[] = [];
  for (const path of await listSources(root, ["tests"])) {
    if (path.endsWith("_test.ts")) tests.push(await facts.read(path));
  }
  for (const path of paths) {
    const text = await facts.read(path);
    problems.push(...await docProblems(path, text, facts));
    if (!HAS_RUN_BLOCKS.test(path)) continue;
    problems.push(...blockProblems(path, text, tests).map((problem) => `${path}: ${problem}`));
  }
  for (const line of problems) console.error(line);
  if (problems.length > 0) Deno.exit(1);
  console.log(`${paths.length} documents: links, paths, commands and flags are right`);
}
