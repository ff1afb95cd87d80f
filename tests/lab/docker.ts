import type { CommandResult, LabHost } from "./host.ts";
import type { LabProcess } from "./process.ts";

/** Name of the image that containers are made from. */
const IMAGE = "busybox:lab";

/** Where Debian's busybox-static puts it: it needs no library. */
const BUSYBOX = "/usr/bin/busybox";

/**
 * A real dockerd in a lab host. As under the CentOS unit, what flannel wrote to
 * `/run/flannel/docker` is its environment, and `$DOCKER_NETWORK_OPTIONS` its last arguments.
 */
export class LabDocker implements AsyncDisposable {
  readonly #host: LabHost;
  #process: LabProcess | undefined;

  private constructor(host: LabHost) {
    this.#host = host;
  }

  /** Starts dockerd, waits until it serves, and imports an image. */
  static async start(host: LabHost): Promise<LabDocker> {
    const docker = new LabDocker(host);
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

  /** `systemctl restart docker`: containers stop, `/run/flannel/docker` is read anew. */
  async restart(): Promise<void> {
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
    return this.#host.exec(["docker", ...args]);
  }

  /** Runs the docker client, whatever its exit code. */
  tryDocker(args: readonly string[]): Promise<CommandResult> {
    return this.#host.run(["docker", ...args]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stop();
  }

  async #start(): Promise<void> {
    const data = `${this.#host.dir}/docker`;
    const script = "set -a; [ ! -r /run/flannel/docker ] || . /run/flannel/docker; set +a; " +
      `exec dockerd --data-root=${data} --userland-proxy=false $DOCKER_NETWORK_OPTIONS`;
    this.#process = await this.#host.spawn(["sh", "-c", script]);
    await this.#process.waitFor("API listen on");
  }

  /** Containers are killed by dockerd as it ends, so that their cgroups go too. */
  async #stop(): Promise<void> {
    await this.#process?.stop();
    this.#process = undefined;
  }

  async #importImage(): Promise<void> {
    const root = `${this.#host.dir}/image`;
    await Deno.mkdir(`${root}/bin`, { recursive: true });
    await Deno.copyFile(BUSYBOX, `${root}/bin/busybox`);
    for (const applet of (await this.#host.exec([BUSYBOX, "--list"])).trim().split("\n")) {
      if (applet !== "busybox") await Deno.symlink("busybox", `${root}/bin/${applet}`);
    }
    await this.#host.exec(["sh", "-c", `tar -C ${root} -c . | docker import - ${IMAGE}`]);
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

  /** Its address on docker0. */
  async address(): Promise<string> {
    const format = "{{.NetworkSettings.IPAddress}}";
    return (await this.#docker.docker(["inspect", "--format", format, this.#name])).trim();
  }

  /** Runs a command in it. */
  exec(command: readonly string[]): Promise<string> {
    return this.#docker.docker(["exec", this.#name, ...command]);
  }

  /**
   * Pings from it.
   *
   * @returns how many of the requests were answered
   */
  async ping(address: string, { count = 1 }: { count?: number } = {}): Promise<number> {
    const { stdout, stderr } = await this.#docker.tryDocker([
      ...["exec", this.#name, "ping", "-c", String(count), "-W", "2", address],
    ]);
    // ping exits with 1 when an answer is missing.
    const received = /(\d+) packets received/.exec(stdout)?.[1];
    if (received === undefined) throw new Error(`${this.#name}: ping: ${stdout}${stderr}`);
    return Number(received);
  }

  /** Kills and removes it. */
  async remove(): Promise<void> {
    await this.#docker.docker(["rm", "--force", this.#name]);
  }
}
