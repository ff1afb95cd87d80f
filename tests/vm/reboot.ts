import { run } from "../lab/command.ts";
import { writeLabRelease } from "../lab/release.ts";
import { runInVm, type VmOptions } from "./boot.ts";

const INSTALL = new URL("./boots/install.sh", import.meta.url).pathname;

/**
 * Installs the package on a VM's disk and boots it, with systemd and udev, once for each command.
 *
 * @param root directory of deno.json
 * @returns the exit code of the first command that failed; or 0
 */
export async function reboot(
  root: string,
  { commands, ...options }: Omit<VmOptions, "command"> & { readonly commands: readonly string[] },
): Promise<number> {
  // The VM has a /tmp of its own.
  const directory = await Deno.makeTempDir({ dir: `${root}/.cache/vm`, prefix: "boot-" });
  try {
    const disk = `${directory}/disk`;
    await run(["truncate", "--size=4G", disk]);
    await run(["mkfs.ext4", "-q", "-F", disk]);
    await run(["apt-get", "-o", "APT::Sandbox::User=root", "download", "-qq", "udev"], {
      cwd: directory,
    });
    await writeLabRelease(directory, { formats: ["deb"] });
    const install = `UDEV=$(echo ${directory}/udev_*.deb) DEB=$(echo ${directory}/flanneld*.deb) ` +
      `sh ${INSTALL}`;
    let code = await runInVm({ ...options, command: install, disk });
    for (const command of commands) {
      if (code !== 0) break;
      code = await runInVm({ ...options, command, disk, systemd: true });
    }
    return code;
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}
