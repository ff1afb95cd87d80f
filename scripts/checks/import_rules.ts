import { dirname } from "node:path/posix";
import type { ModuleGraph } from "./module_graph.ts";

/**
 * The layers, and which of the others each may import. Imports point one way: `sys` knows nothing of
 * leases, `subnet` nothing of kernels, a backend nothing of etcd.
 */
export const LAYERS: ReadonlyMap<string, readonly string[]> = layers([
  ["mod/async", []],
  ["mod/ip", []],
  ["mod/text", []],
  ["mod/version.ts", []],
  ["mod/http", ["mod/async"]],
  ["mod/observe", ["mod/async", "mod/http", "mod/ip", "mod/sys"]],
  ["mod/sys", ["mod/ip"]],
  ["mod/lease", ["mod/ip", "mod/text"]],
  ["mod/config", ["mod/ip", "mod/text"]],
  ["mod/store", [
    "mod/async",
    "mod/ip",
    "mod/text",
    "mod/lease",
    "mod/config",
    "mod/observe",
    "mod/sys",
  ]],
  [
    "mod/server",
    [
      ...["mod/async", "mod/ip", "mod/lease", "mod/config", "mod/observe", "mod/store"],
      ...["mod/http", "mod/subnet", "mod/text"],
    ],
  ],
  ["mod/page", []],
  ["mod/probe", ["mod/async", "mod/ip", "mod/sys"]],
  ["mod/host", ["mod/async", "mod/ip", "mod/observe", "mod/sys"]],
  ["mod/export", ["mod/ip", "mod/observe", "mod/sys"]],
  ["mod/cni", ["mod/ip", "mod/export", "mod/lease", "mod/sys", "mod/version.ts"]],
  ["mod/docker", ["mod/async", "mod/http", "mod/ip", "mod/observe", "mod/sys", "mod/text"]],
  ["mod/firewall", ["mod/ip", "mod/observe", "mod/sys", "mod/host", "mod/text"]],
  ["mod/subnet", ["mod/async", "mod/ip", "mod/observe", "mod/lease", "mod/config", "mod/store"]],
  [
    "backends",
    [
      ...["mod/async", "mod/ip", "mod/observe", "mod/sys", "mod/lease", "mod/config", "mod/host"],
      ...["mod/subnet", "mod/http", "mod/text"],
    ],
  ],
  [
    "mod/agent",
    [
      ...["mod/async", "mod/ip", "mod/observe", "mod/sys", "mod/lease", "mod/config", "mod/store"],
      ...["mod/host", "mod/export", "mod/firewall", "mod/subnet", "mod/version.ts", "backends"],
      ...["mod/http", "mod/server", "mod/probe", "mod/page", "mod/text", "mod/docker"],
    ],
  ],
  [
    "mod/doctor",
    [
      ...["mod/async", "mod/ip", "mod/observe", "mod/sys", "mod/lease", "mod/config", "mod/store"],
      ...["mod/host", "mod/export", "mod/firewall", "mod/subnet", "mod/version.ts", "backends"],
      ...["mod/probe", "mod/agent", "mod/text", "mod/docker"],
    ],
  ],
  [
    "mod/cli",
    [
      ...["mod/ip", "mod/observe", "mod/sys", "mod/lease", "mod/config", "mod/store"],
      ...["mod/host", "mod/export", "mod/firewall", "mod/subnet", "mod/version.ts", "backends"],
      ...[
        "mod/agent",
        "mod/doctor",
        "mod/server",
        "mod/probe",
        "mod/async",
        "mod/cni",
        "mod/http",
        "mod/text",
      ],
    ],
  ],
  ["main.ts", ["mod/cni", "mod/cli"]],
]);

/** Sentences for docs/architecture.md, of folders and files without a mod.ts that has one. */
export const FOLDERS: ReadonlyMap<string, string> = new Map([
  ["main.ts", "The entry: the command line, or a plugin of CNI or netavark"],
  ["mod/version.ts", "The version"],
  ["mod/async", "Sleeping and waiting that a signal ends, reading that a limit ends, rate limits"],
  ["mod/http", "HTTP/1.1: a server with limits of time, memory and connections, and a client"],
  ["mod/page", "The page that draws the cluster"],
  [
    "mod/cli",
    "Go's flag grammar, the table of flags, the environment, help; a file per subcommand",
  ],
  ["backends", "The interface of backends, what they share, and a folder each"],
  [
    "tests",
    "Labs of hosts in namespaces, the model of the lease protocol, chaos, fuzzing, other kernels",
  ],
  ["bench", "Benchmarks, a folder per question"],
  ["scripts", "Checks, building, packages, install.sh and systemd's units"],
]);

/** Most files in a folder: more cannot be taken in at a glance. */
const MAX_FILES = 25;

/** Folders with too many files; one line each. */
export function crowdedFolders(paths: Iterable<string>): string[] {
  const counts = new Map<string, number>();
  for (const path of paths) {
    const folder = dirname(path);
    counts.set(folder, (counts.get(folder) ?? 0) + 1);
  }
  return [...counts].filter(([, count]) => count > MAX_FILES).map(([folder, count]) =>
    `${folder} has ${count} files: group them in folders of at most ${MAX_FILES}`
  );
}

/** Files that only tests load; what ships must not. */
const TEST_FILE =
  /(^|\/)testing\/|(_test|_cases(_[a-z]+)*|_lab|_bench)\.ts$|^(tests|bench|scripts)\//;

function layers(
  rows: readonly (readonly [string, readonly string[]])[],
): ReadonlyMap<string, readonly string[]> {
  return new Map(rows);
}

/** True for a module that belongs to tests, benchmarks or the build. */
export function isTestFile(path: string): boolean {
  return TEST_FILE.test(path);
}

/** The layer of a file; `undefined` outside of all. */
export function layerOf(path: string): string | undefined {
  for (const layer of LAYERS.keys()) {
    if (path === layer || path.startsWith(`${layer}/`)) return layer;
  }
  return undefined;
}

/**
 * Imports that point the wrong way, types included, and imports of test files by what ships; one
 * line each.
 */
export function brokenRules(graph: ModuleGraph): string[] {
  const lines: string[] = [];
  for (const { path, imports } of graph.values()) {
    if (isTestFile(path)) continue;
    const from = layerOf(path);
    if (from === undefined) {
      lines.push(
        `${path} belongs to no layer (scripts/checks/import_rules.ts lists them)`,
      );
      continue;
    }
    const allowed = LAYERS.get(from)!;
    for (const { to, typeOnly } of imports) {
      const layer = layerOf(to);
      if (isTestFile(to)) lines.push(`${path} imports ${to}, which only tests may`);
      else if (layer !== from && (layer === undefined || !allowed.includes(layer))) {
        const what = typeOnly ? "imports a type from" : "imports";
        lines.push(`${path} ${what} ${to}: ${from} may not know ${layer ?? "it"}`);
      }
    }
  }
  return lines.sort();
}

/**
 * Circular imports, types included: of each group of modules that reach each other, one shortest circle,
 * as the paths along it with the first repeated at the end.
 */
export function findCycles(graph: ModuleGraph): string[][] {
  const imports = new Map<string, string[]>();
  const importers = new Map<string, string[]>();
  for (const { path, imports: targets } of graph.values()) {
    for (const { to } of targets) {
      imports.set(path, [...(imports.get(path) ?? []), to]);
      importers.set(to, [...(importers.get(to) ?? []), path]);
    }
  }
  const cycles: string[][] = [];
  const done = new Set<string>();
  for (const path of [...graph.keys()].sort()) {
    if (done.has(path)) continue;
    const cycle = shortestWayBack(path, imports);
    if (cycle === undefined) continue;
    cycles.push(cycle);
    // The rest of the group: what the path reaches, and is reached by.
    const before = reachable(path, importers);
    for (const member of reachable(path, imports)) if (before.has(member)) done.add(member);
  }
  return cycles;
}

function reachable(start: string, edges: ReadonlyMap<string, readonly string[]>): Set<string> {
  const found = new Set([start]);
  for (const path of found) for (const to of edges.get(path) ?? []) found.add(to);
  return found;
}

/** Breadth first from `start` until an import leads back to it. */
function shortestWayBack(
  start: string,
  edges: ReadonlyMap<string, readonly string[]>,
): string[] | undefined {
  const cameFrom = new Map<string, string>();
  const queue = [start];
  for (const path of queue) {
    for (const to of edges.get(path) ?? []) {
      if (to === start) {
        const way = [start];
        for (let at = path; at !== start; at = cameFrom.get(at)!) way.unshift(at);
        return [start, ...way];
      }
      if (!cameFrom.has(to)) {
        cameFrom.set(to, path);
        queue.push(to);
      }
    }
  }
  return undefined;
}
