/**
 * Builds a release from a clean checkout: compiles, packages, and signs SHA256SUMS when a key is given. Two runs on one
 * commit, with one version of Deno, give the same bytes.
 *
 * Usage: `deno run -A scripts/package/release.ts [--minisign-key=FILE] [--gpg-key=ID] [--arch=x86_64|aarch64]
 * [--runtime=auto|download|npm|denort-bin] [--output=DIR] [--gzip-level=0..9]`
 *
 * @module
 */
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { VERSION } from "../../mod/version.ts";
import { cacheDirectory, commitOf, compile, SOURCES } from "../build/compile.ts";
import { chooseRuntime, type RuntimeOptions } from "../build/runtime.ts";
import { projectRoot } from "../checks/module_graph.ts";
import { FORMATS, GZIP_LEVEL, releaseInfo, writeRelease } from "./package.ts";
import type { PackageInfo } from "./package_files.ts";
import { runTool } from "../build/run_tool.ts";

/** Signatures of SHA256SUMS; removed before a build, because they are of the former one. */
const SIGNATURES = { minisign: "SHA256SUMS.minisig", gpg: "SHA256SUMS.asc" } as const;

/** Changed files that an error names. */
const MAX_CHANGES = 5;

interface Options {
  readonly root: string;
  readonly output: string;
  readonly arch: PackageInfo["arch"];
  readonly source: NonNullable<RuntimeOptions["source"]>;
  readonly gzipLevel: string;
  /** Path of minisign's secret key. */
  readonly minisignKey?: string | undefined;
  /** Identifier of a secret key in gpg's keyring. */
  readonly gpgKey?: string | undefined;
}

/**
 * Builds the release.
 *
 * @returns paths of the files
 * @throws {Error} when the checkout is not clean, or a step fails
 */
async function release(
  { root, output, arch, source, gzipLevel, ...keys }: Options,
): Promise<string[]> {
  await checkClean(root);
  const info = await releaseInfo(root, arch, gzipLevel);
  const work = await Deno.makeTempDir({ prefix: "flanneld-release-" });
  try {
    const target = `${arch}-unknown-linux-gnu`;
    const runtime = await chooseRuntime({ source, cache: cacheDirectory(root), target });
    console.log(`commit    ${await commitOf(root)}`);
    console.log(`runtime   Deno ${runtime.version} (${runtime.source})`);
    const executable = `${work}/flanneld`;
    await compile({ root, entry: "main.ts", output: executable, runtime, target });
    await Deno.mkdir(output, { recursive: true });
    for (const name of Object.values(SIGNATURES)) {
      await Deno.remove(`${output}/${name}`).catch((error) => {
        if (!(error instanceof Deno.errors.NotFound)) throw error;
      });
    }
    const names = await writeRelease({ root, executable, output, info, formats: FORMATS });
    return [...names, ...await sign(output, keys)].map((name) => `${output}/${name}`);
  } finally {
    await Deno.remove(work, { recursive: true });
  }
}

async function checkClean(root: string): Promise<void> {
  const status = await runTool(["git", "-C", root, "status", "--porcelain"]);
  const changes = status.trimEnd().split("\n").filter((line) => line !== "");
  if (changes.length === 0) return;
  const more = changes.length > MAX_CHANGES ? `\n... and ${changes.length - MAX_CHANGES} more` : "";
  throw new Error(
    `the checkout ${root} has changes that no commit holds; commit them, or build from a clone:\n` +
      changes.slice(0, MAX_CHANGES).join("\n") + more,
  );
}

/**
 * Signs SHA256SUMS. The tools ask for a passphrase on the terminal.
 *
 * @returns names of the signatures
 */
async function sign(
  directory: string,
  { minisignKey, gpgKey }: Pick<Options, "minisignKey" | "gpgKey">,
): Promise<string[]> {
  const sums = `${directory}/SHA256SUMS`;
  const names: string[] = [];
  if (minisignKey !== undefined) {
    names.push(SIGNATURES.minisign);
    // The default comment holds the time of the signature.
    const comment = `flanneld ${VERSION}, file SHA256SUMS`;
    await runOnTerminal("minisign", [
      ...["-S", "-s", minisignKey, "-m", sums, "-x", `${directory}/${SIGNATURES.minisign}`],
      ...["-t", comment],
    ]);
  }
  if (gpgKey !== undefined) {
    names.push(SIGNATURES.gpg);
    await runOnTerminal("gpg", [
      ...["--local-user", gpgKey, "--armor", "--detach-sign"],
      ...["--output", `${directory}/${SIGNATURES.gpg}`, sums],
    ]);
  }
  return names;
}

async function runOnTerminal(name: string, args: string[]): Promise<void> {
  let status: Deno.CommandStatus;
  try {
    status = await new Deno.Command(name, { args, stdin: "inherit" }).spawn().status;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new Error(`${name} is not installed; scripts/setup.sh installs it`);
  }
  if (!status.success) throw new Error(`${name} failed with ${status.code}; nothing is signed`);
}

if (import.meta.main) {
  const root = projectRoot();
  const { values } = parseArgs({
    args: Deno.args,
    options: {
      "minisign-key": { type: "string" },
      "gpg-key": { type: "string" },
      arch: { type: "string", default: Deno.build.arch },
      runtime: { type: "string", default: Deno.env.get("COMPILE_RUNTIME") ?? "auto" },
      output: { type: "string", default: `${root}/dist/release` },
      "gzip-level": { type: "string", default: GZIP_LEVEL },
    },
  });
  const { arch } = values;
  const source = SOURCES.find((source) => source === values.runtime);
  if (source === undefined || (arch !== "x86_64" && arch !== "aarch64")) {
    console.error(
      source === undefined
        ? `--runtime must be one of ${SOURCES.join(", ")}, not ${values.runtime}`
        : `--arch must be x86_64 or aarch64, not ${arch}`,
    );
    Deno.exit(2);
  }
  try {
    const files = await release({
      ...{ root, output: resolve(values.output), arch, source },
      gzipLevel: values["gzip-level"],
      minisignKey: values["minisign-key"],
      gpgKey: values["gpg-key"],
    });
    for (const file of files) console.log(`wrote     ${file}`);
  } catch (error) {
    console.error(`release: ${error instanceof Error ? error.message : error}`);
    Deno.exit(1);
  }
}
