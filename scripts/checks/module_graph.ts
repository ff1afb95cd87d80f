/** One import of a module by another of the project. */
export interface Import {
  /** Path of the imported module, relative to the project's root. */
  readonly to: string;
  /** True when it vanishes at run time. */
  readonly typeOnly: boolean;
}

/** A module of the project. */
export interface ProjectModule {
  /** Relative to the project's root, with forward slashes. */
  readonly path: string;
  readonly imports: readonly Import[];
  /** Run-time imports from npm, as deno.json resolves them: `npm:etcd3@1.1.2/lib/x.js`. */
  readonly npm: readonly string[];
  /** Run-time specifiers as they are written. */
  readonly specifiers: readonly string[];
}

/** The project's modules by path. */
export type ModuleGraph = ReadonlyMap<string, ProjectModule>;

/** Used part of the output of `deno info --json`. */
interface DenoInfo {
  readonly modules: readonly {
    readonly specifier: string;
    readonly error?: string;
    readonly dependencies?: readonly {
      readonly specifier: string;
      readonly code?: { readonly specifier?: string; readonly error?: string };
      readonly type?: { readonly specifier?: string };
    }[];
  }[];
}

/**
 * Reads which modules these import, directly or not, by `deno info`. Dynamic imports of a literal
 * count.
 *
 * @param root directory of deno.json, without a trailing slash
 * @param entries paths relative to it
 * @throws {Error} when a module cannot be resolved, read or parsed
 */
export async function readModuleGraph(
  root: string,
  entries: readonly string[],
): Promise<ModuleGraph> {
  const dir = await Deno.makeTempDir();
  try {
    // One root that imports the entries: `deno info` takes no more, and starting it is the cost.
    const entry = `${dir}/entries.ts`;
    await Deno.writeTextFile(
      entry,
      entries.map((path) => `import ${JSON.stringify(fileUrl(`${root}/${path}`))};\n`).join(""),
    );
    const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["info", "--json", "--config", `${root}/deno.json`, entry],
      env: { NO_COLOR: "1" },
    }).output();
    const decoder = new TextDecoder();
    if (!success) throw new Error(`deno info: ${decoder.decode(stderr).trim()}`);
    return parseModuleGraph(decoder.decode(stdout), root);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

/** Reads the output of `deno info --json`; modules outside of `root` are left out. */
function parseModuleGraph(json: string, root: string): ModuleGraph {
  const base = `${fileUrl(root)}/`;
  const graph = new Map<string, ProjectModule>();
  for (const { specifier, error, dependencies = [] } of (JSON.parse(json) as DenoInfo).modules) {
    if (error !== undefined) throw new Error(error);
    if (!specifier.startsWith(base)) continue;
    const imports: Import[] = [];
    const npm: string[] = [];
    const specifiers: string[] = [];
    for (const dependency of dependencies) {
      const { code, type } = dependency;
      if (code?.error !== undefined) throw new Error(`${specifier}: ${code.error}`);
      const target = code?.specifier ?? type?.specifier;
      if (target === undefined) continue;
      if (code !== undefined) specifiers.push(dependency.specifier);
      if (target.startsWith(base)) {
        imports.push({ to: decodeURI(target.slice(base.length)), typeOnly: code === undefined });
      } else if (target.startsWith("npm:") && code !== undefined) npm.push(target);
    }
    const path = decodeURI(specifier.slice(base.length));
    graph.set(path, { path, imports, npm, specifiers });
  }
  return graph;
}

/** The directory of deno.json, as this file knows it. */
export function projectRoot(): string {
  return decodeURI(new URL("../..", import.meta.url).pathname).replace(/\/$/, "");
}

/** Paths of the sources among {@linkcode listFiles}. */
export async function listSources(root: string, roots: readonly string[]): Promise<string[]> {
  return (await listFiles(root, roots)).filter((path) => path.endsWith(".ts"));
}

/** Paths of all files below some paths, relative to the root, in order. */
export async function listFiles(root: string, roots: readonly string[]): Promise<string[]> {
  const found: string[] = [];
  async function walk(path: string): Promise<void> {
    const { isDirectory } = await Deno.stat(`${root}/${path}`);
    if (!isDirectory) {
      found.push(path);
      return;
    }
    for await (const entry of Deno.readDir(`${root}/${path}`)) await walk(`${path}/${entry.name}`);
  }
  for (const path of roots) await walk(path);
  return found.sort();
}

/** The URL of an absolute path. */
export function fileUrl(path: string): string {
  const url = new URL("file:///");
  url.pathname = path;
  return url.href;
}
