import { makeBusyboxRoot } from "./busybox_root.ts";
import type { CommandResult, LabHost } from "./host.ts";
import type { LabProcess } from "./process.ts";
import type { LabSystemd } from "./systemd.ts";

/** Name of the image that containers are made from. */
const IMAGE = "busybox:lab";

/** Directory in which scripts/setup.sh unpacks the Docker of Debian's testing suite. */
const TESTING_ROOT = "/var/cache/flanneld/docker-testing";

/** The PATH of each Docker's programs: dockerd finds its containerd and runc there. */
const PATHS: Readonly<Record<DockerVersion, string>> = {
  installed: "/usr/sbin:/usr/bin:/sbin:/bin",
  testing: `${TESTING_ROOT}/usr/sbin:${TESTING_ROOT}/usr/bin:/usr/sbin:/usr/bin:/sbin:/bin`,
};

/** Debian's own Docker (26 in trixie), or the newer one that scripts/setup.sh fetches (28). */
export type DockerVersion = "installed" | "testing";

/** Options of {@linkcode LabDocker.start}. */
export interface DockerOptions {
  /** @default "installed" */
  readonly version?: DockerVersion;
  /** Further arguments of dockerd. @default none */
  readonly args?: readonly string[];
  /** Run dockerd there, as the unit `docker`. @default none: dockerd is a process of the lab */
  readonly systemd?: LabSystemd;
}

/**
 * A real dockerd in a lab host. As under the CentOS unit, the content of
 * `/run/flannel/docker` is its environment, and `$DOCKER_NETWORK_OPTIONS` its last arguments.
 */
export class LabDocker implements AsyncDisposable {
  readonly #host: LabHost;
  readonly #args: readonly string[];
  readonly #env: Readonly<Record<string, string>>;
  readonly #systemd: LabSystemd | undefined;
  #process: LabProcess | undefined;

  private constructor(host: LabHost, { version = "installed", args = [], systemd }: DockerOptions) {
    this.#host = host;
    this.#args = args;
    this.#systemd = systemd;
    this.#env = { PATH: PATHS[version] };
  }

  /** Starts dockerd, waits until it serves, and imports an image. */
  static async start(host: LabHost, options: DockerOptions = {}): Promise<LabDocker> {
    const docker = new LabDocker(host, options);
    await docker.#start();
    try {
      await docker.#importImage();
    } catch (error) {
      await docker.#stop();
      throw error;
    }
    return docker;
  }

  /** The process, for its output and for signals. */
  get process(): LabProcess {
    if (this.#process === undefined) throw new Error("dockerd is stopped");
    return this.#process;
  }

  /** `systemctl restart docker`: containers stop without `--live-restore`, `/run/flannel/docker` is read again. */
  async restart(): Promise<void> {
    if (this.#systemd !== undefined) {
      await this.#systemd.exec(["systemctl", "restart", "docker"]);
      return;
    }
    await this.#stop();
    await this.#start();
  }

  /**
   * Starts a container that does nothing.
   *
   * @param args further arguments of `docker run`
   */
  async run(name: string, args: readonly string[] = []): Promise<LabContainer> {
    await this.docker([
      ...["run", "--detach", "--name", name, "--stop-signal", "KILL"],
      ...args,
      ...[IMAGE, "tail", "-f", "/dev/null"],
    ]);
    return new LabContainer(this, name);
  }

  /**
   * Runs the docker client.
   *
   * @throws {LabCommandError} when it fails
   */
  docker(args: readonly string[]): Promise<string> {
    return this.#host.exec(["docker", ...args], { env: this.#env });
  }

  /** Runs the docker client, whatever its exit code. */
  tryDocker(args: readonly string[]): Promise<CommandResult> {
    return this.#host.run(["docker", ...args], { env: this.#env });
  }

  /** Starts the docker client, which goes on in the background. */
  spawn(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<LabProcess> {
    return this.#host.spawn(["docker", ...args], { env: { ...this.#env, ...env } });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stop();
  }

  async #start(): Promise<void> {
    if (this.#systemd !== undefined) return await this.#startUnit(this.#systemd);
    const script = "set -a; [ ! -r /run/flannel/docker ] || . /run/flannel/docker; set +a; " +
      `exec ${this.#commandLine()} $DOCKER_NETWORK_OPTIONS`;
    this.#process = await this.#host.spawn(["sh", "-c", script], { env: this.#env });
    await this.#process.waitFor("API listen on");
  }

  #commandLine(): string {
    return `dockerd --data-root=${this.#host.dir}/docker --userland-proxy=false ` +
      this.#args.join(" ");
  }

  /** Docker's own unit, without the socket and the containerd that start apart. */
  async #startUnit(systemd: LabSystemd): Promise<void> {
    await this.#host.writeTextFile(
      "/etc/systemd/system/docker.service",
      "[Service]\nType=notify\n" +
        `Environment=PATH=${this.#env.PATH}\n` +
        `ExecStart=/usr/bin/env ${this.#commandLine()}\n` +
        "Restart=always\nRestartSec=2\nDelegate=yes\nKillMode=process\n",
    );
    await systemd.exec(["systemctl", "daemon-reload"]);
    await systemd.exec(["systemctl", "start", "docker"]);
  }

  /** Containers are killed by dockerd as it ends, so that their cgroups go too. */
  async #stop(): Promise<void> {
    await this.#systemd?.exec(["systemctl", "stop", "docker"]);
    await this.#process?.stop();
    this.#process = undefined;
  }

  async #importImage(): Promise<void> {
    const root = `${this.#host.dir}/image`;
    await makeBusyboxRoot(root);
    await this.#host.exec(["sh", "-c", `tar -C ${root} -c . | docker import - ${IMAGE}`], {
      env: this.#env,
    });
  }
}

/** A running container. */
export class LabContainer {
  readonly #docker: LabDocker;
  readonly #name: string;

  constructor(docker: LabDocker, name: string) {
    this.#docker = docker;
    this.#name = name;
  }

  /** Its address on its network, docker0's by default. */
  async address(): Promise<string> {
    const format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    return (await this.#docker.docker(["inspect", "--format", format, this.#name])).trim();
  }

  /** Runs a command in it. */
  exec(command: readonly string[]): Promise<string> {
    return this.#docker.docker(["exec", this.#name, ...command]);
  }

  /**
   * Pings from it.
   *
   * @param args further arguments of busybox' `ping`
   * @returns how many of the requests were answered
   */
  async ping(
    address: string,
    { count = 1, args = [] }: { count?: number; args?: readonly string[] } = {},
  ): Promise<number> {
    const { stdout, stderr } = await this.#docker.tryDocker([
      ...["exec", this.#name, "ping", "-c", String(count), "-W", "2", ...args, address],
    ]);
    // ping exits with 1 when an answer is missing.
    const received = /(\d+) packets received/.exec(stdout)?.[1];
    if (received === undefined) throw new Error(`${this.#name}: ping: ${stdout}${stderr}`);
    return Number(received);
  }

  /** Returns the number of ICMP echo requests received. */
  async echoRequests(): Promise<number> {
    const [names, values] = (await this.exec(["cat", "/proc/net/snmp"])).split("\n")
      .filter((line) => line.startsWith("Icmp:")).map((line) => line.split(" "));
    return Number(values![names!.indexOf("InEchos")]);
  }

  /** Serves a page with the text `hello`. */
  async serve(port: number): Promise<void> {
    await this.exec([
      ...["sh", "-c", `mkdir -p /www; echo hello > /www/index.html; httpd -p ${port} -h /www`],
    ]);
  }

  /** Kills and removes it. */
  async remove(): Promise<void> {
    await this.#docker.docker(["rm", "--force", this.#name]);
  }
}
