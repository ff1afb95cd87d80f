import { basename } from "node:path";
import { LIBRARIES } from "../build/bundled_libc.ts";
import { runTool } from "../build/run_tool.ts";
import type { PackageFile } from "./package_files.ts";

/** Directory of libraries in Debian on x86_64, which its dynamic loader searches by itself. */
const DEBIAN_LIBRARIES = "/usr/lib/x86_64-linux-gnu";

/** Debian's packages and the programs in them. */
const PROGRAMS = {
  iptables: ["/usr/sbin/xtables-nft-multi", "/usr/sbin/xtables-legacy-multi"],
  nftables: ["/usr/sbin/nft"],
} as const;

/** Path and target of a symbolic link. */
export type Link = readonly [path: string, target: string];

/** A Debian package, as the bill of materials has it. */
export interface ToolPackage {
  readonly name: string;
  readonly version: string;
  /** Not known in a machine's form; Debian's copyright file has it. */
  readonly license: "NOASSERTION";
}

/** Firewall tools for a root that has no other program. */
export interface FirewallTools {
  /** Programs, libraries, and the packages' copyright files. */
  readonly files: readonly PackageFile[];
  readonly links: readonly Link[];
  readonly packages: readonly ToolPackage[];
}

/**
 * Collects iptables, in both its variants, and nft of this machine's Debian packages, with the libraries that they
 * need. The C library is that of {@linkcode LIBRARIES}.
 *
 * @param libc paths of the libraries in it
 * @throws {Error} when a package is not installed
 */
export async function firewallTools(libc: readonly string[]): Promise<FirewallTools> {
  const extensions = (await runTool(["dpkg-query", "--listfiles", "iptables"])).split("\n")
    .filter((path) => path.startsWith(`${DEBIAN_LIBRARIES}/xtables/`));
  const programs = Object.values(PROGRAMS).flat();
  const own = new Set(libc.map((path) => basename(path)));
  const libraries = await librariesOf([...programs, ...extensions]);
  const foreign = libraries.filter((path) => !own.has(basename(path)));
  const copied = [...programs, ...extensions];
  const packages = await packagesOf([...copied, ...foreign]);
  return {
    files: [
      ...copied.map((path) => ({ path, mode: 0o755, content: path })),
      ...foreign.map((content) => ({
        path: `${DEBIAN_LIBRARIES}/${basename(content)}`,
        mode: 0o644,
        content,
      })),
      ...packages.map(({ name }) => copyrightFile(name)),
    ],
    links: [
      ...programLinks(),
      ...libraries.filter((path) => own.has(basename(path))).map((path): Link => [
        `${DEBIAN_LIBRARIES}/${basename(path)}`,
        `${LIBRARIES}/${basename(path)}`,
      ]),
      // The interpreter that these programs name.
      ["/lib64/ld-linux-x86-64.so.2", `${LIBRARIES}/ld.so`],
    ],
    packages,
  };
}

/** Debian's copyright file of a package. */
function copyrightFile(name: string): PackageFile {
  const path = `/usr/share/doc/${name}/copyright`;
  return { path, mode: 0o644, content: path };
}

/** Names under which the programs do their work: `iptables-nft-save`, and without a variant that of nf_tables. */
function programLinks(): Link[] {
  const [nft, legacy] = PROGRAMS.iptables.map((path) => basename(path)) as [string, string];
  return [["", nft], ["-nft", nft], ["-legacy", legacy]].flatMap(([variant, program]) =>
    ["iptables", "ip6tables"].flatMap((name) =>
      ["", "-save", "-restore"].map((
        verb,
      ): Link => [`/usr/sbin/${name}${variant}${verb}`, program!])
    )
  );
}

/** Returns the libraries that files are linked with, directly or not, as ldd(1) finds them; sorted. */
async function librariesOf(files: readonly string[]): Promise<string[]> {
  const output = await runTool(["ldd", ...files as [string, ...string[]]]);
  return [...new Set([...output.matchAll(/ => (\/\S+)/g)].map(([, path]) => path!))].sort();
}

/** Returns the packages of files, sorted. */
async function packagesOf(files: readonly string[]): Promise<ToolPackage[]> {
  const paths = await Promise.all(files.map((path) => Deno.realPath(path)));
  const output = await runTool(["dpkg-query", "--search", ...paths]);
  const names = [...new Set(output.trim().split("\n").map((line) => line.split(": ")[0]!))].sort();
  const versions = await runTool([
    ...["dpkg-query", "--show", "--showformat=${Package} ${Version}\n"] as const,
    ...names,
  ]);
  return versions.trim().split("\n").map((line) => {
    const [name, version] = line.split(" ") as [string, string];
    return { name, version, license: "NOASSERTION" };
  });
}
