/**
 * Writes a release: tarball, rpm, deb, with `--oci` a container image, install.sh, the bill of materials, and SHA256SUMS over all.
 *
 * Usage: `deno run -A scripts/package/package.ts [--executable=FILE] [--arch=x86_64|aarch64]
 * [--output=DIR] [--formats=tar,rpm,deb] [--oci] [--gzip-level=0..9]`
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
import { cratesOf, type EmbeddedParts, thirdPartyLicenses } from "./licenses.ts";
import {
  type PackageFile,
  packageFiles,
  type PackageInfo,
  packageName,
  systemd219Files,
  withBundledLibc,
  withSystemd219,
} from "./package_files.ts";
import { bundleLibc } from "../build/bundled_libc.ts";
import { runTool } from "../build/run_tool.ts";
import { packageRpm } from "./package_rpm.ts";
import { packageTar } from "./package_tar.ts";
import { sha256 } from "../build/runtime.ts";
import { type FirewallTools, firewallTools } from "./firewall_tools.ts";
import { type ImageContent, imageName, packageOci } from "./package_oci.ts";
import { type BomSubject, makeBom } from "./sbom.ts";
import { stage } from "../build/stage.ts";

export const FORMATS = ["tar", "rpm", "deb", "oci"] as const;

/** All but the container image. */
const PACKAGES = ["tar", "rpm", "deb"] as const;

/** zlib's own default. */
export const GZIP_LEVEL = "6";

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
  /** @default all but the container image */
  readonly formats?: readonly PackageFormat[];
  /** Whether the formats but the deb come with a C library, too. @default true */
  readonly bundledLibc?: boolean;
}

/**
 * Writes a release: for x86_64 each tarball and rpm twice by default, the second time with a C library of its own.
 *
 * @returns the names of the files, sorted
 * @throws {Error} when the executable does not run here, or a tool fails or is missing
 */
export async function writeRelease(options: ReleaseOptions): Promise<string[]> {
  const { root, executable, output, info, formats = PACKAGES, bundledLibc = true } = options;
  await Deno.mkdir(output, { recursive: true });
  const work = await Deno.makeTempDir({ prefix: "flanneld-package-" });
  try {
    const parts = await describe(options, `${work}/staged`);
    const licenses = await thirdPartyLicenses(root, parts);
    const files = await packageFiles(root, executable, info, licenses);
    const builds = [{ files, info, executable, parts }];
    const isBundled = bundledLibc && formats.some((format) => format !== "deb");
    // The libraries are those of this machine.
    if (isBundled && info.arch === "x86_64" && Deno.build.arch === "x86_64") {
      const bundle = await bundleLibc(executable, `${work}/bundled`);
      const bundled = { ...info, bundledLibc: true };
      const all = { ...parts, libc: bundle };
      builds.push({
        files: withBundledLibc(files, bundle, bundled, await thirdPartyLicenses(root, all)),
        ...{ info: bundled, executable: bundle.executable, parts: all },
      });
    }
    const names = (await Promise.all(builds.map((build) => writeBuild(build, options, formats))))
      .flat();
    await Deno.copyFile(`${root}/scripts/install.sh`, `${output}/install.sh`);
    await Deno.chmod(`${output}/install.sh`, 0o755);
    names.push("install.sh");
    names.sort();
    // Those of other machines, written before, are of the same release.
    const all = [...Deno.readDirSync(output)].map(({ name }) => name)
      .filter((name) => name === "install.sh" || name.includes(info.version)).sort();
    const sums = await Promise.all(
      all.map(async (name) => `${await sha256(`${output}/${name}`)}  ${name}\n`),
    );
    await Deno.writeTextFile(`${output}/SHA256SUMS`, sums.join(""));
    return [...names, "SHA256SUMS"];
  } finally {
    await Deno.remove(work, { recursive: true });
  }
}

/** One executable, and what is packed with it. */
interface Build {
  readonly files: readonly PackageFile[];
  readonly info: PackageInfo;
  readonly executable: string;
  readonly parts: EmbeddedParts;
}

/** Writes the packages and the bill of materials of a build, and returns their names. */
async function writeBuild(
  { files, info, executable, parts }: Build,
  { root, output }: ReleaseOptions,
  formats: readonly PackageFormat[],
): Promise<string[]> {
  const { bundledLibc = false } = info;
  const own = bundledLibc ? systemd219Files(root) : [];
  const ofRpm = bundledLibc ? withSystemd219(root, files) : files;
  const writers: Record<PackageFormat, () => Promise<string>> = {
    tar: () => packageTar(files, own, info, `${root}/scripts/install.sh`, output),
    rpm: () => packageRpm(ofRpm, info, output),
    deb: () => packageDeb(files, info, output),
    oci: () => packageOci(imageContent(files, tools), info, output),
  };
  // No release of Debian has systemd with a glibc that is too old for the other build; the image has nothing but that.
  const wanted = formats.filter((format) => format !== (bundledLibc ? "deb" : "oci"));
  const tools = wanted.includes("oci")
    ? await firewallTools(parts.libc!.libraries)
    : { files: [], links: [], packages: [] };
  const libraries: BomSubject["libraries"] = parts.libc?.packages ?? [];
  const subject = {
    version: info.version,
    sha256: await sha256(executable),
    lock: JSON.parse(await Deno.readTextFile(`${root}/deno.lock`)) as Lockfile,
    ...parts,
    runtime: { version: parts.runtime },
    sourceDateEpoch: info.sourceDateEpoch,
  };
  const boms = [{ name: packageName(info), libraries }];
  if (wanted.includes("oci")) {
    boms.push({ name: imageName(info), libraries: [...libraries, ...tools.packages] });
  }
  for (const { name, libraries } of boms) {
    const bom = makeBom({ ...subject, libraries });
    await Deno.writeTextFile(`${output}/${name}.cdx.json`, JSON.stringify(bom, null, 2) + "\n");
  }
  const names = await Promise.all(wanted.map((format) => writers[format]()));
  return [...names, ...boms.map(({ name }) => `${name}.cdx.json`)];
}

/** Files of an installation that a container needs: no unit, no completions, of the documents the licenses. */
const OF_IMAGE = /^\/usr\/(bin|lib\/flanneld)\/|\/(LICENSE|NOTICE|THIRD-PARTY-LICENSES)$/;

function imageContent(files: readonly PackageFile[], tools: FirewallTools): ImageContent {
  const own = files.filter(({ path }) => OF_IMAGE.test(path));
  return { files: [...own, ...tools.files], links: tools.links };
}

/** Finds out which parts the executable has. */
async function describe(
  { root, executable }: ReleaseOptions,
  work: string,
): Promise<EmbeddedParts> {
  await Deno.mkdir(work);
  const { packages } = await stage(root, "main.ts", work);
  const text = new TextDecoder("latin1").decode(await Deno.readFile(executable));
  // The version is in its user agent, `Deno/2.4.2`.
  const runtime = /Deno\/(\d+\.\d+\.\d+)/.exec(text)?.[1];
  if (runtime === undefined) throw new Error(`${executable} holds no Deno`);
  return { packages, runtime, crates: cratesOf(text) };
}

/**
 * Returns what a release of a checkout has: this version, and the time that `SOURCE_DATE_EPOCH` gives, or that of the
 * last commit.
 *
 * @param gzipLevel 0 to 9
 * @throws {Error} when the level or the variable is no number, or there is no commit
 */
export async function releaseInfo(
  root: string,
  arch: PackageInfo["arch"],
  gzipLevel: string,
): Promise<PackageInfo> {
  if (!/^\d$/.test(gzipLevel)) throw new Error(`--gzip-level must be 0 to 9, not ${gzipLevel}`);
  const given = Deno.env.get("SOURCE_DATE_EPOCH");
  const text = given ?? await runTool(["git", "-C", root, "log", "-1", "--format=%ct"]);
  if (!/^\d+\s*$/.test(text)) throw new Error(`SOURCE_DATE_EPOCH must be seconds, not ${text}`);
  return { version: VERSION, arch, sourceDateEpoch: Number(text), gzipLevel: Number(gzipLevel) };
}

if (import.meta.main) {
  const root = projectRoot();
  const { values } = parseArgs({
    args: Deno.args,
    options: {
      executable: { type: "string", default: `${root}/dist/flanneld` },
      arch: { type: "string", default: Deno.build.arch },
      output: { type: "string", default: `${root}/dist/packages` },
      formats: { type: "string", default: PACKAGES.join() },
      oci: { type: "boolean", default: false },
      "gzip-level": { type: "string", default: GZIP_LEVEL },
    },
  });
  const formats = values.formats.split(",") as PackageFormat[];
  if (values.oci && !formats.includes("oci")) formats.push("oci");
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
    const info = await releaseInfo(root, arch, values["gzip-level"]);
    const names = await writeRelease({ ...values, root, info, formats });
    for (const name of names) console.log(`wrote     ${values.output}/${name}`);
  } catch (error) {
    console.error(`package: ${error instanceof Error ? error.message : error}`);
    Deno.exit(1);
  }
}
