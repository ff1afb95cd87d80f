import { dirname } from "@std/path";
import { makeBusyboxRoot } from "./busybox_root.ts";
import { FLANNELD } from "./executable.ts";
import type { CommandResult, LabHost } from "./host.ts";

/** Name of the image; no registry is asked for it, because it is there. */
const IMAGE = "docker.io/library/busybox:latest";

/**
 * The settings of a host. runc takes the machine's cgroups as they are, crun no hybrid of both versions. The other
 * kind of locks is in /dev/shm, which hosts share.
 */
const CONTAINERS_CONF = `
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
`;

const ENVIRONMENT = {
  PATH: `${dirname(FLANNELD)}:/usr/sbin:/usr/bin:/sbin:/bin`,
  // Podman warns on a machine with cgroups of version 1.
  PODMAN_IGNORE_CGROUPSV1_WARNING: "1",
};

/** Debian's Podman in a lab host, with files and a directory for plugins of its own there. */
export class LabPodman implements AsyncDisposable {
  readonly #host: LabHost;

  private constructor(host: LabHost) {
    this.#host = host;
  }

  /** Writes the settings, imports an image, and keeps off the machine what is written to /usr/libexec. */
  static async start(host: LabHost): Promise<LabPodman> {
    await host.writeTextFile("/etc/containers/containers.conf", CONTAINERS_CONF);
    await host.writeTextFile(
      "/etc/containers/storage.conf",
      `[storage]\ndriver = "overlay"\ngraphroot = "${host.dir}/podman"\n` +
        'runroot = "/run/containers/storage"\n',
    );
    const podman = new LabPodman(host);
    const [upper, work] = ["libexec", "libexec-work"].map((name) => `${host.dir}/${name}`);
    await podman.sh(
      `mkdir ${upper} ${work}\nmount -t overlay overlay ` +
        `-o lowerdir=/usr/libexec,upperdir=${upper},workdir=${work} /usr/libexec`,
    );
    const root = `${host.dir}/image`;
    await makeBusyboxRoot(root);
    await podman.sh(`tar -C ${root} -c . | podman import - ${IMAGE}`);
    return podman;
  }

  /** Runs a script that calls podman. @throws {LabCommandError} when it fails */
  sh(script: string): Promise<string> {
    return this.#host.exec(["sh", "-ec", script], { env: ENVIRONMENT });
  }

  /** Runs podman. @param args without spaces in one @throws {LabCommandError} when it fails */
  podman(args: string): Promise<string> {
    return this.#host.exec(["podman", ...args.split(" ")], { env: ENVIRONMENT });
  }

  /** Runs podman, whatever its exit code. @param args without spaces in one */
  tryPodman(args: string): Promise<CommandResult> {
    return this.#host.run(["podman", ...args.split(" ")], { env: ENVIRONMENT });
  }

  /** Starts a container that does nothing. @param options of `podman run` */
  async run(name: string, options: string): Promise<void> {
    const command = `run --detach --name ${name} --stop-signal KILL --cap-add NET_RAW ${options}`;
    await this.podman(`${command} ${IMAGE} tail -f /dev/null`);
  }

  /** Returns a container's IPv4 addresses on an interface, with their lengths. */
  async addresses(name: string, device = "eth0"): Promise<string[]> {
    const text = await this.podman(`exec ${name} ip -4 addr show ${device}`);
    return [...text.matchAll(/inet (\S+)/g)].map(([, address]) => address!);
  }

  /** Pings from a container. @returns how many of two requests were answered */
  async ping(name: string, address: string): Promise<number> {
    const { stdout, stderr } = await this.tryPodman(`exec ${name} ping -c 2 -W 2 ${address}`);
    const received = /(\d+) packets received/.exec(stdout)?.[1];
    if (received === undefined) throw new Error(`${name}: ping: ${stdout}${stderr}`);
    return Number(received);
  }

  /** Removes the containers, so that their cgroups go, too. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.podman("rm --all --force --time 0");
  }
}
