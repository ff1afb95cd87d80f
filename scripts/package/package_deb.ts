import { DOCUMENTS, layOut, type PackageFile, type PackageInfo } from "./package_files.ts";
import { runTool } from "../build/run_tool.ts";
import { AFTER_INSTALL, AFTER_REMOVE, BEFORE_REMOVE } from "./package_scripts.ts";

/** Debian's names of architectures. */
const ARCHITECTURES = { x86_64: "amd64", aarch64: "arm64" } as const;

/**
 * Writes the Debian package, deb(5).
 *
 * @param directory where it goes
 * @returns its name
 */
export async function packageDeb(
  files: readonly PackageFile[],
  info: PackageInfo,
  directory: string,
): Promise<string> {
  const architecture = ARCHITECTURES[info.arch];
  const name = `flanneld_${info.version}_${architecture}.deb`;
  const work = await Deno.makeTempDir({ prefix: "flanneld-package-" });
  try {
    const encode = (text: string) => new TextEncoder().encode(text);
    const script = (text: string) => encode(`#!/bin/sh\nset -e\n${text}`);
    const size = await installedSize(files);
    const configs = files.filter(({ isConfig }) => isConfig).map(({ path }) => `${path}\n`);
    await layOut([
      ...files,
      { path: `${DOCUMENTS}/copyright`, mode: 0o644, content: encode(COPYRIGHT) },
      { path: "/DEBIAN/control", mode: 0o644, content: encode(control(info, architecture, size)) },
      { path: "/DEBIAN/conffiles", mode: 0o644, content: encode(configs.join("")) },
      {
        path: "/DEBIAN/postinst",
        mode: 0o755,
        // deb-postinst(5): with the version that was configured before, at an upgrade.
        content: script(`upgrade=0\n[ -z "\${2-}" ] || upgrade=1\n${AFTER_INSTALL}`),
      },
      {
        path: "/DEBIAN/prerm",
        mode: 0o755,
        content: script(`[ "$1" = remove ] || exit 0\n${BEFORE_REMOVE}`),
      },
      { path: "/DEBIAN/postrm", mode: 0o755, content: script(AFTER_REMOVE) },
    ], work);
    await Deno.chmod(work, 0o755);
    await runTool([
      ...["dpkg-deb", "--root-owner-group", "-Zgzip"] as const,
      ...[`-z${info.gzipLevel}`, "--build"],
      ...[work, `${directory}/${name}`],
    ], { env: { SOURCE_DATE_EPOCH: String(info.sourceDateEpoch) } });
    return name;
  } finally {
    await Deno.remove(work, { recursive: true });
  }
}

/** Debian's machine-readable copyright file, format 1.0. */
const COPYRIGHT = `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: flanneld
Comment: /usr/bin/flanneld embeds Deno, V8 and npm packages. Their licenses are in
 ${DOCUMENTS}/THIRD-PARTY-LICENSES.

Files: *
Copyright: 2026 The flanneld authors
License: Apache-2.0

License: Apache-2.0
 Licensed under the Apache License, Version 2.0. On Debian systems the text of the
 license is in /usr/share/common-licenses/Apache-2.0.
`;

/** deb-control(5). */
function control({ version }: PackageInfo, architecture: string, size: number): string {
  return `Package: flanneld
Version: ${version}
Architecture: ${architecture}
Maintainer: The flanneld authors <flanneld@invalid>
Installed-Size: ${size}
Depends: libc6 (>= 2.27)
Recommends: nftables | iptables
Conflicts: flannel
Section: net
Priority: optional
Description: overlay network agent, in place of CoreOS flannel
 Leases a subnet of one container network from etcd for each host, and keeps
 every other host's subnet reachable.
`;
}

/** In KiB, as deb-substvars(5) has it: each file rounded up. */
async function installedSize(files: readonly PackageFile[]): Promise<number> {
  let size = 0;
  for (const { content } of files) {
    const bytes = typeof content === "string" ? (await Deno.stat(content)).size : content.length;
    size += Math.ceil(bytes / 1024);
  }
  return size;
}
