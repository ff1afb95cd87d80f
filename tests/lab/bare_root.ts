import { bundleLibc } from "../../scripts/build/bundled_libc.ts";
import { makeBusyboxRoot } from "./busybox_root.ts";

/** Repository root. */
const ROOT = new URL("../../", import.meta.url).pathname;

/** The last system call of Linux 3.10 on x86_64, finit_module; and one that is newer than any kernel of today. */
const [LAST_CALL, NEWEST_CALL] = [313, 500];

/** enosys(1): answers ENOSYS to every system call that CentOS 7 does not have. */
const ON_LINUX_3_10 = [
  "enosys",
  ...Array.from({ length: NEWEST_CALL - LAST_CALL }, (_, i) => `--syscall=${LAST_CALL + 1 + i}`),
];

/** Devices by their numbers, linux/Documentation/admin-guide/devices.txt. */
const DEVICES = { null: [1, 3], random: [1, 8], urandom: [1, 9], "net/tun": [10, 200] } as const;

/** Directories and files of a host that its processes in the root have, too. */
const OF_HOST = ["proc", "sys", "run", "etc/machine-id"];

/** Programs of the host that the agent starts. They take the host's C library, which is in the host's own root. */
const HOST_PROGRAMS = ["iptables", "iptables-save", "iptables-restore", "nft"];
const RUN_ON_HOST = '#!/bin/sh\nexec nsenter -t 1 -m -- "${0##*/}" "$@"\n';

/** Mounts the host's part, and the directory of the notify socket, for one process alone: nothing is left mounted. */
const ENTER = `
for name in ${OF_HOST.join(" ")}; do mount --rbind "/$name" "$0/$name"; done
if [ -n "$NOTIFY_SOCKET" ]; then
  dir=$(dirname "$NOTIFY_SOCKET")
  mkdir -p "$0$dir"
  mount --bind "$dir" "$0$dir"
fi
exec "$@"
`;

/** A root without a C library but the one that the agent brings, as all hosts of a lab can share it. */
export class BareRoot {
  readonly path: string;
  /** Of the executable that brings its own C library. */
  readonly executable: string;
  /** Paths of the libraries that it brings. */
  readonly libraries: readonly string[];
  /** Words before a command that runs in the root of a lab's host, on the system calls of Linux 3.10. */
  readonly enter: readonly string[];

  private constructor(path: string, executable: string, libraries: readonly string[]) {
    this.path = path;
    this.executable = executable;
    this.libraries = libraries;
    this.enter = ["unshare", "--mount", "sh", "-ec", ENTER, path, ...ON_LINUX_3_10, "chroot", path];
  }

  /**
   * Makes a root with busybox and an installation of the agent.
   *
   * @param path an empty directory
   */
  static async make(path: string): Promise<BareRoot> {
    const { executable, libraries } = await bundleLibc(`${ROOT}dist/flanneld`, path);
    await makeBusyboxRoot(path);
    for (const name of ["proc", "sys", "run", "tmp", "etc", "dev/net", "usr/libexec/flannel"]) {
      await Deno.mkdir(`${path}/${name}`, { recursive: true });
    }
    await Deno.writeTextFile(`${path}/etc/machine-id`, "");
    const mkDockerOpts = "mk-docker-opts.sh";
    await Deno.copyFile(
      `${ROOT}scripts/${mkDockerOpts}`,
      `${path}/usr/libexec/flannel/${mkDockerOpts}`,
    );
    for (const name of HOST_PROGRAMS) {
      await Deno.writeTextFile(`${path}/usr/bin/${name}`, RUN_ON_HOST, { mode: 0o755 });
    }
    for (const [name, [major, minor]] of Object.entries(DEVICES)) {
      const { success } = await new Deno.Command("mknod", {
        args: ["-m", "666", `${path}/dev/${name}`, "c", String(major), String(minor)],
      }).output();
      if (!success) throw new Error(`mknod did not make ${path}/dev/${name}`);
    }
    return new BareRoot(path, executable, libraries);
  }
}
