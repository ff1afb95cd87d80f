import type { UnderlayHost } from "../lab.ts";
import type { LabProcess } from "../process.ts";

/** One of etcd's two stores. */
export type EtcdApi = "v2" | "v3";

/**
 * A real etcd in a lab host, with both APIs, as in the guide: Host100 at
 * http://172.28.128.100:2379.
 */
export class LabEtcd implements AsyncDisposable {
  readonly endpoint: string;
  readonly #host: UnderlayHost;
  #process: LabProcess | undefined;

  private constructor(host: UnderlayHost) {
    this.#host = host;
    this.endpoint = `http://${host.address}:2379`;
  }

  /** Starts etcd and waits until it serves. */
  static async start(host: UnderlayHost): Promise<LabEtcd> {
    const etcd = new LabEtcd(host);
    await etcd.start();
    return etcd;
  }

  /** The process, for its output and for signals. */
  get process(): LabProcess {
    if (this.#process === undefined) throw new Error("etcd is stopped");
    return this.#process;
  }

  /** Starts etcd again, on the data it had. */
  async start(): Promise<void> {
    this.#process = await this.#host.spawn([
      "etcd",
      "--enable-v2",
      "--unsafe-no-fsync",
      "--log-level=warn",
      `--name=${this.#host.name}`,
      `--data-dir=${this.#host.dir}/etcd`,
      `--listen-client-urls=${this.endpoint},http://127.0.0.1:2379`,
      `--advertise-client-urls=${this.endpoint}`,
      "--listen-peer-urls=http://127.0.0.1:2380",
      "--initial-advertise-peer-urls=http://127.0.0.1:2380",
      `--initial-cluster=${this.#host.name}=http://127.0.0.1:2380`,
    ]);
    const deadline = Date.now() + 20_000;
    for (;;) {
      const { code, stderr } = await this.#ctl("v3", ["endpoint", "health"]);
      if (code === 0) return;
      if (!this.#process.running || Date.now() > deadline) {
        throw new Error(`etcd does not serve: ${stderr}\n${this.#process.output}`);
      }
    }
  }

  /** Stops etcd; its data stay. */
  async stop(): Promise<void> {
    await this.#process?.stop();
    this.#process = undefined;
  }

  /** Writes a key without a lifetime. */
  async set(api: EtcdApi, key: string, value: string): Promise<void> {
    await this.ctl(api, [api === "v2" ? "set" : "put", key, value]);
  }

  /**
   * Reads a key.
   *
   * @returns `undefined` when there is none
   */
  async get(api: EtcdApi, key: string): Promise<string | undefined> {
    if (api === "v3") {
      const text = await this.ctl(api, ["get", "--write-out=json", key]);
      const { kvs = [] } = JSON.parse(text) as { kvs?: { value?: string }[] };
      return kvs[0] && new TextDecoder().decode(fromBase64(kvs[0].value ?? ""));
    }
    const { code, stdout } = await this.#ctl(api, ["get", key]);
    return code === 0 ? stdout.replace(/\n$/, "") : undefined;
  }

  /** Keys of a directory (v2) or with a prefix (v3), sorted; an absent one has none. */
  async keys(api: EtcdApi, directory: string): Promise<string[]> {
    const { stdout } = await this.#ctl(
      api,
      api === "v2" ? ["ls", directory] : ["get", "--prefix", "--keys-only", `${directory}/`],
    );
    return stdout.split("\n").filter((line) => line !== "").sort();
  }

  /** Removes a directory (v2) or everything with a prefix (v3). */
  async removeAll(api: EtcdApi, directory: string): Promise<void> {
    await this.ctl(
      api,
      api === "v2" ? ["rm", "--recursive", directory] : ["del", "--prefix", `${directory}/`],
    );
  }

  /**
   * Runs etcdctl.
   *
   * @throws {Error} when it fails
   */
  async ctl(api: EtcdApi, args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.#ctl(api, args);
    if (code !== 0) throw new Error(`etcdctl ${args.join(" ")} (${api}): ${stdout}${stderr}`);
    return stdout;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  #ctl(api: EtcdApi, args: readonly string[]) {
    return this.#host.run(["etcdctl", "--endpoints", this.endpoint, ...args], {
      env: { ETCDCTL_API: api === "v2" ? "2" : "3" },
    });
  }
}

function fromBase64(text: string): Uint8Array {
  return Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
}
