/**
 * Writes a release: tarball, rpm, deb, install.sh, the bill of materials, and SHA256SUMS over all.
 *
 * Usage: `deno run -A scripts/package/package.ts [--executable=FILE] [--arch=x86_64|aarch64]
 * [--output=DIR] [--formats=tar,rpm,deb]`
 *
 * `SOURCE_DATE_EPOCH` is the time of everything in it; without it, that of the last commit.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { VERSION } from "../../mod/version.ts";
import type { Lockfile } from "../checks/lockfile.ts";
import { projectRoot } from "../checks/module_graph.ts";
import { packageDeb } from "./package_deb.ts";
import { cratesOf, thirdPartyLicenses } from "./licenses.ts";
import { packageFiles, type PackageInfo, runTool } from "./package_files.ts";
import { packageRpm } from "./package_rpm.ts";
import { packageTar } from "./package_tar.ts";
import { sha256 } from "../build/runtime.ts";
import { makeBom } from "./sbom.ts";
import { stage } from "../build/stage.ts";

const FORMATS = ["tar", "rpm", "deb"] as const;

/** A kind of package. */
export type PackageFormat = typeof FORMATS[number];

/** Options of {@linkcode writeRelease}. */
export interface ReleaseOptions {
  /** Directory of deno.json. */
  readonly root: string;
  readonly executable: string;
  /** Made when it is missing. */
  readonly output: string;
  readonly info: PackageInfo;
  /** @default all */
  readonly formats?: readonly PackageFormat[];
}

/**
 * Writes a release.
 *
 * @returns the names of the files, sorted
 * @throws {Error} when the executable does not run here, or a tool fails or is missing
 */
export async function writeRelease(options: ReleaseOptions): Promise<string[]> {
  const { root, executable, output, info, formats = FORMATS } = options;
  await Deno.mkdir(output, { recursive: true });
  const { licenses, bom } = await describe(options);
  const files = await packageFiles(root, executable, info, licenses);
  const installer = `${root}/scripts/install.sh`;
  const writers: Record<PackageFormat, () => Promise<string>> = {
    tar: () => packageTar(files, info, installer, output),
    rpm: () => packageRpm(files, info, output),
    deb: () => packageDeb(files, info, output),
  };
  const names = await Promise.all(formats.map((format) => writers[format]()));
  await Deno.copyFile(installer, `${output}/install.sh`);
  await Deno.chmod(`${output}/install.sh`, 0o755);
  const bomName = `flanneld-${info.version}-linux-${info.arch}.cdx.json`;
  await Deno.writeTextFile(`${output}/${bomName}`, bom);
  names.push("install.sh", bomName);
  names.sort();
  // Those of other machines, written before, are of the same release.
  const all = [...Deno.readDirSync(output)].map(({ name }) => name)
    .filter((name) => name === "install.sh" || name.includes(info.version)).sort();
  const sums = await Promise.all(
    all.map(async (name) => `${await sha256(`${output}/${name}`)}  ${name}\n`),
  );
  await Deno.writeTextFile(`${output}/SHA256SUMS`, sums.join(""));
  return [...names, "SHA256SUMS"];
}

/** Describes the parts of the executable: the licenses in one text, the bill of materials in JSON. */
async function describe(
  { root, executable, info }: ReleaseOptions,
): Promise<{ readonly licenses: string; readonly bom: string }> {
  const work = await Deno.makeTempDir({ prefix: "flanneld-package-" });
  try {
    const { packages } = await stage(root, "main.ts", work);
    const lock = JSON.parse(await Deno.readTextFile(`${root}/deno.lock`)) as Lockfile;
    const text = new TextDecoder("latin1").decode(await Deno.readFile(executable));
    // The version is in its user agent, `Deno/2.4.2`.
    const runtime = /Deno\/(\d+\.\d+\.\d+)/.exec(text)?.[1];
    if (runtime === undefined) throw new Error(`${executable} holds no Deno`);
    const crates = cratesOf(text);
    const bom = makeBom({
      version: info.version,
      sha256: await sha256(executable),
      lock,
      packages,
      crates,
      runtime: { version: runtime },
      sourceDateEpoch: info.sourceDateEpoch,
    });
    return {
      licenses: await thirdPartyLicenses(root, { packages, runtime, crates }),
      bom: JSON.stringify(bom, null, 2) + "\n",
    };
  } finally {
    await Deno.remove(work, { recursive: true });
  }
}

/**
 * Returns the time of a release in seconds since 1970: `SOURCE_DATE_EPOCH`, or that of the last commit.
 *
 * @throws {Error} when the variable is no number, or there is no commit
 */
export async function commitTime(root: string): Promise<number> {
  const given = Deno.env.get("SOURCE_DATE_EPOCH");
  const text = given ?? await runTool(["git", "-C", root, "log", "-1", "--format=%ct"]);
  if (!/^\d+\s*$/.test(text)) throw new Error(`SOURCE_DATE_EPOCH must be seconds, not ${text}`);
  return Number(text);
}

if (import.meta.main) {
  const root = projectRoot();
  const { values } = parseArgs({
    args: Deno.args,
    options: {
      executable: { type: "string", default: `${root}/dist/flanneld` },
      arch: { type: "string", default: Deno.build.arch },
      output: { type: "string", default: `${root}/dist/packages` },
      formats: { type: "string", default: FORMATS.join() },
    },
  });
  const formats = values.formats.split(",") as PackageFormat[];
  const wrong = formats.find((format) => !FORMATS.includes(format));
  const { arch } = values;
  if (wrong !== undefined || (arch !== "x86_64" && arch !== "aarch64")) {
    console.error(
      wrong !== undefined
        ? `--formats must be some of ${FORMATS.join()}, not ${wrong}`
        : `--arch must be x86_64 or aarch64, not ${arch}`,
    );
    Deno.exit(2);
  }
  try {
    const info = { version: VERSION, arch, sourceDateEpoch: await commitTime(root) } as const;
    const names = await writeRelease({ ...values, root, info, formats });
    for (const name of names) console.log(`wrote     ${values.output}/${name}`);
  } catch (error) {
    console.error(`package: ${error instanceof Error ? error.message : error}`);
    Deno.exit(1);
  }
}
