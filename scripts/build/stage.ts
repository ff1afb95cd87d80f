import { type BundledPackage, bundlePackages } from "./bundle.ts";
import { isTestFile } from "../checks/import_rules.ts";
import { type Lockfile, reduceLockfile } from "../checks/lockfile.ts";
import { type ModuleGraph, readModuleGraph } from "../checks/module_graph.ts";

/** Result of {@linkcode stage}. */
export interface Staged {
  /** Modules and assets, relative to the project's root. */
  readonly files: readonly string[];
  /** Files that no import names, for `--include`. */
  readonly includes: readonly string[];
  /** The npm packages that something of is in the bundles. */
  readonly packages: readonly BundledPackage[];
}

/** Directory for the bundles of npm packages. */
const BUNDLES = "npm";

/** A worker, or an asset: no import names it, its URL does. */
const URL_OF_FILE = /new URL\(\s*["'](\.{1,2}\/[^"']+)["']\s*,\s*import\.meta\.url\s*,?\s*\)/g;

/**
 * Copies a program into an empty directory: the modules it reaches at run time, the files it names
 * by `new URL("./file", import.meta.url)`, a deno.json and a deno.lock with no package but those
 * it imports. Compiling there embeds nothing else.
 *
 * @param root directory of deno.json and deno.lock
 * @param entry relative to it
 * @throws {Error} when a module is missing, or a test file is among them
 */
export async function stage(root: string, entry: string, dir: string): Promise<Staged> {
  const { graph, files, includes } = await reach(root, entry);
  const test = files.find(isTestFile);
  if (test !== undefined) throw new Error(`${entry} reaches ${test}, which only tests may load`);
  for (const file of files) {
    await Deno.mkdir(`${dir}/${file}`.replace(/\/[^/]*$/, ""), { recursive: true });
    await Deno.copyFile(`${root}/${file}`, `${dir}/${file}`);
  }

  const config = JSON.parse(await Deno.readTextFile(`${root}/deno.json`)) as {
    imports?: Record<string, string>;
    compilerOptions?: unknown;
  };
  const used = files.flatMap((file) => graph.get(file)?.specifiers ?? []);
  const imports = Object.fromEntries(
    Object.entries(config.imports ?? {}).filter(([name]) =>
      used.some((specifier) => isBare(specifier, { [name]: "" }))
    ),
  );

  const lock = JSON.parse(await Deno.readTextFile(`${root}/deno.lock`)) as Lockfile;
  const npm = Object.values(imports).filter((target) => target.startsWith("npm:"));
  const reduced = reduceLockfile(lock, npm.map(withoutPath));
  const bundle = await bundlePackages({
    imports,
    lock: reduced,
    specifiers: [...new Set(used.filter((specifier) => isBare(specifier, imports)))].sort(),
    output: `${dir}/${BUNDLES}`,
  });
  const { compilerOptions = {} } = config;
  await writeJson(`${dir}/deno.json`, {
    nodeModulesDir: "none",
    imports: Object.fromEntries(
      [...bundle.modules].map(([specifier, file]) => [specifier, `./${BUNDLES}/${file}`]),
    ),
    compilerOptions,
  });
  const bundled = [...bundle.modules.values(), ...bundle.chunks, ...bundle.assets];
  return {
    files: [...files, ...bundled.map((file) => `${BUNDLES}/${file}`)].sort(),
    includes: [...includes, ...bundle.assets.map((file) => `${BUNDLES}/${file}`)],
    packages: bundle.packages,
  };
}

/** Everything the entry loads at run time. Workers and assets are found in the sources' text. */
async function reach(root: string, entry: string) {
  const entries = [entry];
  const assets = new Set<string>();
  for (;;) {
    const graph = await readModuleGraph(root, entries);
    const modules = reachableModules(graph, entries);
    const before = entries.length;
    for (const module of modules) {
      const text = await Deno.readTextFile(`${root}/${module}`);
      for (const [, relative] of text.matchAll(URL_OF_FILE)) {
        const target = new URL(relative!, `file:///${module}`).pathname.slice(1);
        if (!target.endsWith(".ts")) assets.add(target);
        else if (!entries.includes(target)) entries.push(target);
      }
    }
    if (entries.length > before) continue;
    const files = [...new Set([...modules, ...assets])].sort();
    return { graph, files, includes: [...entries.slice(1), ...assets].sort() };
  }
}

function reachableModules(graph: ModuleGraph, entries: readonly string[]): Set<string> {
  const found = new Set(entries);
  for (const path of found) {
    for (const { to, typeOnly } of graph.get(path)?.imports ?? []) if (!typeOnly) found.add(to);
  }
  return found;
}

/** `npm:deno-std@1.4.0` of `npm:deno-std@1.4.0/assert/mod.js`, which is how deno.lock has it. */
function withoutPath(target: string): string {
  return /^npm:\/?((?:@[^/]+\/)?[^/]+)/.exec(target)![0];
}

/** Whether an import map's keys, or what lies below them, are meant. */
function isBare(specifier: string, imports: Readonly<Record<string, string>>): boolean {
  return Object.keys(imports).some((name) =>
    specifier === name || specifier.startsWith(`${name}/`)
  );
}

async function writeJson(path: string, value: unknown): Promise<void> {
  await Deno.writeTextFile(path, JSON.stringify(value, null, 2) + "\n");
}
