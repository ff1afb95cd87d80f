/**
 * Writes the executable.
 *
 * Usage: `deno run -A scripts/build/compile.ts [--runtime=auto|download|npm|denort-bin]
 * [--target=x86_64-unknown-linux-gnu|aarch64-unknown-linux-gnu] [--output=FILE] [--bundled-libc] [ENTRY]`
 *
 * On an open network the Deno at hand compiles. On a closed one, where it cannot download the
 * executable's base, an older Deno does, for which npm has the base (docs/decisions/0005-two-runtimes.md).
 * `COMPILE_RUNTIME` stands in for `--runtime`. `--bundled-libc` writes besides, into the directory `bundled` beside
 * the executable, the one that brings its own C library.
 *
 * @module
 */
import { dirname, resolve } from "node:path";
import { parseArgs } from "node:util";
import { projectRoot } from "../checks/module_graph.ts";
import { bundleLibc } from "./bundled_libc.ts";
import { chooseRuntime, downloadedDenort, type Runtime, sha256 } from "./runtime.ts";
import { stage, type Staged } from "./stage.ts";

/** How long `deno compile` may take, the download of denort included, in milliseconds. */
const COMPILE_TIMEOUT = 600_000;

/**
 * V8 lets its young generation grow to 3 times 16 MB before it collects it, and what a listing of
 * leases leaves there stays for long: at rest 80 MiB for 86 with 5,000 leases on v2, 92 for 102 on
 * v3; with 60,000, 143 for 196 and 226 for 310 at the peak. Starts take as long either way, and so
 * does the udp data path for a packet.
 *
 * Maglev stays. Without it an agent with few leases would rest at 60 MiB for 63, but only until
 * TurboFan takes as much, some 200 events later; and 5,000 leases would cost a quarter more.
 *
 * `trimMemory()` needs `gc()`, to collect objects whose native size V8 does not know.
 */
export const V8_FLAGS = "--max-semi-space-size=1,--expose-gc";

/** The agent's system calls are those of Linux with glibc, on either. */
const TARGETS = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"];

/** The module that names the commit, and its line without one. */
const VERSION_FILE = "mod/version.ts";
const NO_COMMIT = 'export const COMMIT: string = "";';

/** Values of `--runtime`. */
export const SOURCES = ["auto", "download", "npm", "denort-bin"] as const;

/** Options of {@linkcode compile}. */
export interface CompileOptions {
  /** Directory of deno.json. */
  readonly root: string;
  /** Relative to it. */
  readonly entry: string;
  readonly output: string;
  readonly runtime: Runtime;
  /** The machine that it is for, as Deno names it. @default this one */
  readonly target?: string;
}

/**
 * Compiles a program into an executable that embeds what it imports, and nothing else.
 *
 * The program gets all permissions: Deno opens /proc/sys to nobody with less, and what calls into
 * libc could help itself to any other (docs/decisions/0013-all-permissions.md).
 *
 * @throws {Error} when compiling fails, or something went in that should not have
 */
export async function compile(
  { root, entry, output, runtime, target = Deno.build.target }: CompileOptions,
): Promise<Staged> {
  const dir = await Deno.makeTempDir({ prefix: "flanneld-compile-" });
  try {
    const staged = await stage(root, entry, dir);
    if (staged.files.includes(VERSION_FILE)) await embedCommit(root, `${dir}/${VERSION_FILE}`);
    await settleTimes(dir);
    const { success, stdout, stderr } = await new Deno.Command(runtime.deno, {
      args: [
        ...["compile", "--allow-all", "--no-prompt", "--no-check", "--no-lock"],
        // The cache would be a file of a known name in /tmp, which a daemon run by root would
        // execute whoever had put it there. It saves 20 ms of start.
        "--no-code-cache",
        `--v8-flags=${V8_FLAGS}`,
        // With a base of one's own Deno takes that, whatever the target.
        ...(target === Deno.build.target ? [] : [`--target=${target}`]),
        ...staged.includes.map((file) => `--include=${file}`),
        `--output=${output}`,
        entry,
      ],
      cwd: dir,
      env: {
        NO_COLOR: "1",
        // Deno 2.4 otherwise trusts its own list of CAs alone, not that of a closed network.
        DENO_TLS_CA_STORE: Deno.env.get("DENO_TLS_CA_STORE") ?? "system,mozilla",
        ...(runtime.denort === undefined ? {} : { DENORT_BIN: runtime.denort }),
      },
      signal: AbortSignal.timeout(COMPILE_TIMEOUT),
    }).output();
    const log = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
    if (!success) {
      const hint = runtime.source === "download"
        ? "\n--runtime=npm takes a runtime from npm instead of downloading one"
        : "";
      throw new Error(`deno compile failed:\n${log.trimEnd()}${hint}`);
    }
    const stowaway = findStowaway(log, staged.files);
    if (stowaway !== undefined) {
      await Deno.remove(output);
      throw new Error(`the executable embeds what it does not import: ${stowaway}`);
    }
    return staged;
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

/** Returns the directory for downloaded runtimes: in `XDG_CACHE_HOME`, or in the checkout. */
export function cacheDirectory(root: string): string {
  const home = Deno.env.get("XDG_CACHE_HOME");
  return home ? `${home}/flanneld` : `${root}/.cache`;
}

/** Writes the commit of a checkout into the staged copy of {@linkcode VERSION_FILE}. */
async function embedCommit(root: string, file: string): Promise<void> {
  const text = await Deno.readTextFile(file);
  const [before, after] = text.split(NO_COMMIT);
  if (after === undefined) throw new Error(`${VERSION_FILE} has no line ${NO_COMMIT}`);
  const line = NO_COMMIT.replace('""', JSON.stringify(await commitOf(root)));
  await Deno.writeTextFile(file, `${before}${line}${after}`);
}

/**
 * Returns the commit that a directory is a checkout of, in hex, with `-dirty` when a tracked file differs from it.
 *
 * @returns an empty string when the directory is no checkout, or git is not installed
 */
export async function commitOf(root: string): Promise<string> {
  try {
    const { success, stdout } = await new Deno.Command("git", {
      args: ["-C", root, "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"],
      // A source tree that was unpacked inside of another checkout is not of that one's commit.
      env: { GIT_CEILING_DIRECTORIES: dirname(root) },
      stderr: "null",
    }).output();
    return success ? new TextDecoder().decode(stdout).trim() : "";
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "";
    throw error;
  }
}

/**
 * Gives all files one time: the executable holds the times of what it embeds, and a second build of
 * the same sources is to give the same bytes.
 */
async function settleTimes(dir: string): Promise<void> {
  const time = Number(Deno.env.get("SOURCE_DATE_EPOCH") ?? 0);
  for await (const { name, isDirectory } of Deno.readDir(dir)) {
    if (isDirectory) await settleTimes(`${dir}/${name}`);
    else await Deno.utime(`${dir}/${name}`, time, time);
  }
}

/**
 * Looks through the list of embedded files that `deno compile` prints.
 *
 * @param expected the files that may be in it
 * @returns the first path in it that is none of them, and above none of them
 */
export function findStowaway(log: string, expected: readonly string[]): string | undefined {
  return embeddedPaths(log).find((path) => {
    const below = path.replace(/^\//, "").replace(/\*$/, "").replace(/\/?$/, "/");
    return !expected.some((file) => `${file}/`.startsWith(below));
  });
}

/**
 * The paths of the tree that `deno compile` prints; directories that hold one package end in `/*`.
 *
 * @throws {Error} when there is no tree
 */
export function embeddedPaths(log: string): string[] {
  const [, list] = log.split(/^Embedded Files$/m);
  if (list === undefined) throw new Error(`deno compile listed no embedded files:\n${log}`);
  const paths: string[] = [];
  const above: string[] = [];
  for (const line of list.split("\n")) {
    const match = /^([ │]*)[├└]─[─┬] (\S+)/.exec(line);
    if (match === null) continue;
    // Each level is two columns wide.
    above.length = match[1]!.length / 2;
    above.push(match[2]!);
    paths.push(`/${above.join("/")}`);
  }
  return paths;
}

if (import.meta.main) {
  const root = projectRoot();
  const { values, positionals } = parseArgs({
    args: Deno.args,
    allowPositionals: true,
    options: {
      runtime: { type: "string", default: Deno.env.get("COMPILE_RUNTIME") ?? "auto" },
      output: { type: "string", default: `${root}/dist/flanneld` },
      target: { type: "string", default: Deno.build.target },
      "bundled-libc": { type: "boolean", default: false },
    },
  });
  const { target } = values;
  if (!TARGETS.includes(target)) {
    console.error(`--target must be one of ${TARGETS.join(", ")}, not ${target}`);
    Deno.exit(2);
  }
  const source = SOURCES.find((source) => source === values.runtime);
  if (source === undefined) {
    console.error(`--runtime must be one of ${SOURCES.join(", ")}, not ${values.runtime}`);
    Deno.exit(2);
  }
  try {
    const runtime = await chooseRuntime({ source, cache: cacheDirectory(root), target });
    const output = resolve(values.output);
    await Deno.mkdir(dirname(output), { recursive: true });
    const staged = await compile({
      root,
      entry: positionals[0] ?? "main.ts",
      output,
      runtime,
      target,
    });
    const denort = runtime.denort ?? await downloadedDenort(target);
    const hash = denort === undefined ? "unknown" : await sha256(denort);
    const { size } = await Deno.stat(output);
    console.log(`runtime   Deno ${runtime.version} (${runtime.source}), denort SHA-256 ${hash}`);
    console.log(`embedded  ${staged.files.length} files, ${staged.packages.length} npm packages`);
    console.log(`wrote     ${output}, ${(size / 1e6).toFixed(1)} MB`);
    if (values["bundled-libc"]) {
      const { executable, packages } = await bundleLibc(output, `${dirname(output)}/bundled`);
      const names = packages.map(({ name, version }) => `${name} ${version}`);
      console.log(`wrote     ${executable}, with ${names.join(" and ")}`);
    }
  } catch (error) {
    console.error(`compile: ${error instanceof Error ? error.message : error}`);
    Deno.exit(1);
  }
}
