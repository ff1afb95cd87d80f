import { SUBCOMMANDS } from "../../mod/cli/commands/subcommands.ts";
import { makeDirectory } from "../../mod/export/atomic_file.ts";
import { type BundledLibc, LIBRARIES } from "../build/bundled_libc.ts";
import { basename } from "node:path";
import { createReadStream, createWriteStream } from "node:fs";
import { pipeline } from "node:stream/promises";
import { createGzip, gzipSync } from "node:zlib";
import { runTool } from "../build/run_tool.ts";

/** A file as a package installs it; it belongs to root. */
export interface PackageFile {
  /** Absolute. */
  readonly path: string;
  /** Permission bits. */
  readonly mode: number;
  /** Path of a file, or the bytes themselves. */
  readonly content: string | Uint8Array<ArrayBuffer>;
  /** The operator's own after the first installation: never overwritten. */
  readonly isConfig?: boolean;
}

/** Metadata of every package. */
export interface PackageInfo {
  readonly version: string;
  /** As `uname -m` has it. */
  readonly arch: "x86_64" | "aarch64";
  /** Seconds since 1970: the time of every file, so that a second build gives the same bytes. */
  readonly sourceDateEpoch: number;
  /** Of the build that brings its own C library. @default false */
  readonly bundledLibc?: boolean;
  /** 0, which stores, to 9. */
  readonly gzipLevel: number;
}

/** `flanneld-0.1.0-linux-x86_64`, the name of the tarball and of the directory in it; with `-bundled` behind. */
export function packageName({ version, arch, bundledLibc = false }: PackageInfo): string {
  return `flanneld-${version}-linux-${arch}${bundledLibc ? "-bundled" : ""}`;
}

/** Documents that the subcommands print, and where they belong. */
const PRINTED: readonly (readonly [args: readonly string[], path: string])[] = [
  [["man"], "/usr/share/man/man8/flanneld.8.gz"],
  [["completions", "bash"], "/usr/share/bash-completion/completions/flanneld"],
  [["completions", "zsh"], "/usr/share/zsh/site-functions/_flanneld"],
  [["completions", "fish"], "/usr/share/fish/vendor_completions.d/flanneld.fish"],
];

/** Directory of the documents in an installation. */
export const DOCUMENTS = "/usr/share/doc/flanneld";

/** The licenses of all that the executable embeds. */
const LICENSES = `${DOCUMENTS}/THIRD-PARTY-LICENSES`;

/** Documents beside the folder `docs`; its pages link to them. */
const TOP_DOCUMENTS = [
  ...["CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "NOTICE", "README.md", "SECURITY.md"],
];

/**
 * Lists the documents of an installation, in the folders that they have in the sources, so that their links work.
 *
 * @param root directory of deno.json
 */
export async function documentFiles(
  root: string,
): Promise<(PackageFile & { readonly content: string })[]> {
  const paths = [...TOP_DOCUMENTS];
  const walk = async (folder: string): Promise<void> => {
    for await (const { name, isDirectory } of Deno.readDir(`${root}/${folder}`)) {
      if (isDirectory) await walk(`${folder}/${name}`);
      else paths.push(`${folder}/${name}`);
    }
  };
  await walk("docs");
  return paths.sort().map((path) => ({
    path: `${DOCUMENTS}/${path}`,
    mode: 0o644,
    content: `${root}/${path}`,
  }));
}

/**
 * All files of an installation, under the names of CentOS's flannel package.
 *
 * @param root directory of deno.json
 * @param executable the output of `deno task compile`
 * @param licenses text of {@linkcode thirdPartyLicenses}
 * @throws {Error} when it does not run here and should, or is of another version
 */
export async function packageFiles(
  root: string,
  executable: string,
  { version, arch }: PackageInfo,
  licenses: string,
): Promise<PackageFile[]> {
  // One for another machine does not run here: its sources print the manual.
  const isOurs = arch === Deno.build.arch;
  const program = isOurs
    ? [executable] as const
    : [Deno.execPath(), "run", "-A", "--no-check", `${root}/main.ts`] as const;
  if (isOurs) {
    const found = (await runTool([executable, "-version"])).trim();
    if (found !== version) throw new Error(`${executable} is ${found}, not ${version}: compile it`);
  }
  const file = (source: string, path: string, mode = 0o644): PackageFile => ({
    path,
    mode,
    content: `${root}/${source}`,
  });
  const files: PackageFile[] = [
    { path: "/usr/bin/flanneld", mode: 0o755, content: executable },
    file("scripts/mk-docker-opts.sh", "/usr/libexec/flannel/mk-docker-opts.sh", 0o755),
    file("scripts/systemd/flanneld.service", "/usr/lib/systemd/system/flanneld.service"),
    file(
      "scripts/systemd/docker.service.d/flannel.conf",
      "/usr/lib/systemd/system/docker.service.d/flannel.conf",
    ),
    {
      // The store's password is kept there.
      ...file("scripts/systemd/flanneld.sysconfig", "/etc/sysconfig/flanneld", 0o600),
      isConfig: true,
    },
    ...["flannel-ipip.xml", "flannel-udp.xml", "flannel-vxlan.xml"].map((name) =>
      file(`scripts/firewalld/${name}`, `/usr/lib/firewalld/services/${name}`)
    ),
    file(
      "scripts/network-manager/90-flanneld.conf",
      "/usr/lib/NetworkManager/conf.d/90-flanneld.conf",
    ),
    file("scripts/networkd/00-flanneld.network", "/usr/lib/systemd/network/00-flanneld.network"),
    { ...file("scripts/ufw/flanneld", "/etc/ufw/applications.d/flanneld"), isConfig: true },
    ...await documentFiles(root),
    { path: LICENSES, mode: 0o644, content: new TextEncoder().encode(licenses) },
  ];
  const names = SUBCOMMANDS.map(({ name }) => name);
  for (const [args, path] of PRINTED) {
    if (!names.includes(args[0]!)) continue;
    const text = new TextEncoder().encode(await runTool([...program, ...args]));
    files.push({ path, mode: 0o644, content: path.endsWith(".gz") ? gzip(text) : text });
  }
  return files.sort((a, b) => a.path < b.path ? -1 : 1);
}

/** Files of {@linkcode systemd219Files}, in the sources and in an installation. */
const SYSTEMD_219 = [
  ["flanneld.service", "/usr/lib/systemd/system/flanneld.service"],
  ["modules-load.conf", "/usr/lib/modules-load.d/flanneld.conf"],
  ["tmpfiles.conf", "/usr/lib/tmpfiles.d/flanneld.conf"],
] as const;

/**
 * Lists the files that a systemd older than 235 needs, that of CentOS 7 (219) among them: a unit of directives that it
 * knows, and what takes the place of the newer ones.
 *
 * @param root directory of deno.json
 */
export function systemd219Files(root: string): PackageFile[] {
  return SYSTEMD_219.map(([name, path]) => ({
    path,
    mode: 0o644,
    content: `${root}/scripts/systemd/systemd-219/${name}`,
  }));
}

/**
 * Returns the files of an installation that brings its own C library.
 *
 * @param files of {@linkcode packageFiles}
 * @param licenses text of {@linkcode thirdPartyLicenses}, the libraries' included
 */
export function withBundledLibc(
  files: readonly PackageFile[],
  { executable, libraries }: Pick<BundledLibc, "executable" | "libraries">,
  { version }: PackageInfo,
  licenses: string,
): PackageFile[] {
  const encode = (text: string) => new TextEncoder().encode(text);
  return replaceFiles(files, [
    { path: "/usr/bin/flanneld", mode: 0o755, content: executable },
    { path: LICENSES, mode: 0o644, content: encode(licenses) },
    ...libraries.map((content) => ({
      path: `${LIBRARIES}/${basename(content)}`,
      mode: 0o755,
      content,
    })),
    // For install.sh: the executable cannot be asked before the libraries are in their place.
    { path: `${LIBRARIES}/version`, mode: 0o644, content: encode(`${version}\n`) },
  ]);
}

/**
 * Returns the files of an installation for a systemd older than 235. That for systemd-networkd is not among them: it
 * would match flanneld's devices with a key that networkd knows from 233 on, and so have them managed.
 *
 * @param root directory of deno.json
 */
export function withSystemd219(root: string, files: readonly PackageFile[]): PackageFile[] {
  const known = files.filter(({ path }) => !path.startsWith("/usr/lib/systemd/network/"));
  return replaceFiles(known, systemd219Files(root));
}

/** Returns files with others added, which take the place of those with the same path. */
function replaceFiles(
  files: readonly PackageFile[],
  others: readonly PackageFile[],
): PackageFile[] {
  const byPath = new Map([...files, ...others].map((file) => [file.path, file]));
  return [...byPath.values()].sort((a, b) => a.path < b.path ? -1 : 1);
}

/** Puts files below a directory, whatever the umask is. */
export async function layOut(files: readonly PackageFile[], root: string): Promise<void> {
  for (const { path, mode, content } of files) {
    const target = root + path;
    await makeDirectory(target.replace(/\/[^/]*$/, ""));
    if (typeof content === "string") await Deno.copyFile(content, target);
    else await Deno.writeFile(target, content);
    await Deno.chmod(target, mode);
  }
}

/** Returns a command of tar whose output depends on names and contents alone. */
export function reproducibleTar(
  { sourceDateEpoch }: PackageInfo,
  args: readonly string[],
): readonly [string, ...string[]] {
  return [
    ...["tar", "--create", "--sort=name", "--format=ustar", "--owner=0", "--group=0"] as const,
    ...["--numeric-owner", `--mtime=@${sourceDateEpoch}`],
    ...args,
  ];
}

/** Bytes that {@linkcode gzipFile} reads at once. */
const GZIP_CHUNK_BYTES = 1 << 20;

/** Compresses a file into another. Deno's zlib takes a third of the time of gzip(1). */
export async function gzipFile(path: string, output: string, level: number): Promise<void> {
  await pipeline(
    createReadStream(path, { highWaterMark: GZIP_CHUNK_BYTES }),
    createGzip({ level, chunkSize: GZIP_CHUNK_BYTES }),
    createWriteStream(output),
  );
}

/** RFC 1952 without a time and a name, as node:zlib writes it. */
function gzip(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return new Uint8Array(gzipSync(bytes, { level: 9 }));
}
