import {
  gzipFile,
  layOut,
  type PackageFile,
  type PackageInfo,
  packageName,
  reproducibleTar,
} from "./package_files.ts";
import { runTool } from "../build/run_tool.ts";

/**
 * Writes the tarball: the files below a directory of its name, with install.sh beside them.
 *
 * @param systemd219 files that install.sh puts in the place of others where systemd is older than 235
 * @param installer path of install.sh
 * @param directory where it goes
 * @returns its name
 */
export async function packageTar(
  files: readonly PackageFile[],
  systemd219: readonly PackageFile[],
  info: PackageInfo,
  installer: string,
  directory: string,
): Promise<string> {
  const name = packageName(info);
  const work = await Deno.makeTempDir({ prefix: "flanneld-package-" });
  try {
    await layOut([
      ...files,
      ...systemd219.map((file) => ({ ...file, path: `/systemd-219${file.path}` })),
      { path: "/install.sh", mode: 0o755, content: installer },
    ], `${work}/${name}`);
    const tar = `${work}/${name}.tar`;
    await runTool(reproducibleTar(info, [`--file=${tar}`, `--directory=${work}`, name]));
    await gzipFile(tar, `${directory}/${name}.tar.gz`, info.gzipLevel);
    return `${name}.tar.gz`;
  } finally {
    await Deno.remove(work, { recursive: true });
  }
}
