import { dirname } from "node:path";
import { DOCUMENTS, layOut, type PackageFile, type PackageInfo } from "./package_files.ts";
import { LIBRARIES } from "../build/bundled_libc.ts";
import { runTool } from "../build/run_tool.ts";
import {
  AFTER_INSTALL,
  AFTER_INSTALL_SYSTEMD_219,
  AFTER_REMOVE,
  BEFORE_REMOVE,
} from "./package_scripts.ts";

/**
 * Writes the RPM package.
 *
 * @param directory where it goes
 * @returns its name
 */
export async function packageRpm(
  files: readonly PackageFile[],
  info: PackageInfo,
  directory: string,
): Promise<string> {
  const work = await Deno.makeTempDir({ prefix: "flanneld-package-" });
  try {
    await layOut(files, `${work}/tree`);
    await Deno.writeTextFile(`${work}/flanneld.spec`, spec(files, info, `${work}/tree`));
    await runTool([
      ...["rpmbuild", "-bb", "--quiet", "--target", `${info.arch}-linux`] as const,
      ...["--define", `_topdir ${work}`, "--define", `_rpmdir ${work}/out`],
      ...["--define", `_tmppath ${work}`, "--define", "_rpmfilename %{NAME}.rpm"],
      `${work}/flanneld.spec`,
    ], { env: { SOURCE_DATE_EPOCH: String(info.sourceDateEpoch) } });
    const name = `flanneld-${info.version}-${releaseOf(info)}.${info.arch}.rpm`;
    await Deno.copyFile(`${work}/out/flanneld.rpm`, `${directory}/${name}`);
    return name;
  } finally {
    await Deno.remove(work, { recursive: true });
  }
}

/** Not of the package for CentOS 7, whose rpm 4.11 refuses a condition among dependencies. */
const REQUIRES = `Requires: glibc >= 2.27
Recommends: (nftables or iptables)`;

/** Files of the documents that `rpm --query --licensefiles` lists. */
const LICENSE_FILE = /^\/usr\/share\/doc\/flanneld\/(?:LICENSE|NOTICE|THIRD-PARTY-LICENSES)$/;

/** The package with its own C library is for CentOS 7 and its relatives. */
function releaseOf({ bundledLibc = false }: PackageInfo): string {
  return bundledLibc ? "1.el7" : "1";
}

/** rpm-spec(5) */
function spec(files: readonly PackageFile[], info: PackageInfo, tree: string): string {
  const { version, bundledLibc = false } = info;
  // A tilde sorts before everything: 0.2.0~rc.1 is older than 0.2.0.
  const rpmVersion = version.replace("-", "~");
  const list = files.map(({ path, mode, isConfig }) => {
    const kind = isConfig
      ? "%config(noreplace) "
      : LICENSE_FILE.test(path)
      ? "%license "
      : path.startsWith(`${DOCUMENTS}/`)
      ? "%doc "
      : "";
    return `%attr(0${mode.toString(8)}, root, root) ${kind}${path}`;
  });
  const directories = [...new Set(files.map(({ path }) => dirname(path)))]
    .filter((path) => `${path}/`.startsWith(`${DOCUMENTS}/`) || path === LIBRARIES).sort().map((
      path,
    ) => `%dir ${path}`);
  return `# Built from finished files: nothing is compiled here, and nothing may be stripped, since the
# executable's program lies behind its ELF image.
%global debug_package %{nil}
%global __os_install_post %{nil}
%global __brp_mangle_shebangs %{nil}
%global _build_id_links none
%global _binary_payload w${info.gzipLevel}.gzdio
%global _buildhost flanneld
%global use_source_date_epoch_as_buildtime 1
%global clamp_mtime_to_source_date_epoch 1
%global source_date_epoch_from_changelog 0
%global build_mtime_policy clamp_to_source_date_epoch

Name: flanneld
Version: ${rpmVersion}
Release: ${releaseOf(info)}
Summary: Overlay network agent, in place of CoreOS flannel
License: Apache-2.0
AutoReqProv: no
Requires: /bin/sh
${bundledLibc ? "" : REQUIRES}
Obsoletes: flannel

%description
Leases a subnet of one container network from etcd for each host, and keeps every
other host's subnet reachable.

%install
cp -a ${tree}/. %{buildroot}/

%post
upgrade=0
[ "$1" -lt 2 ] || upgrade=1
${AFTER_INSTALL}${bundledLibc ? AFTER_INSTALL_SYSTEMD_219 : ""}
%preun
[ "$1" = 0 ] || exit 0
${BEFORE_REMOVE}
%postun
${AFTER_REMOVE}
%files
%defattr(-, root, root, 0755)
%dir /usr/libexec/flannel
${directories.join("\n")}
${list.join("\n")}
`;
}
