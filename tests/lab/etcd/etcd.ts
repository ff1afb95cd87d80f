import type { Certificates } from "../certificates.ts";

/** Options of {@linkcode EtcdServer.start}. */
export interface EtcdServerOptions {
  /** Serves https with the server certificate; `clientAuth` demands client certificates. @default http */
  readonly tls?: { readonly certificates: Certificates; readonly clientAuth?: boolean };
  /** Serves etcd v2 besides v3. @default true */
  readonly v2?: boolean;
  /** Address to listen on. @default "127.0.0.1" */
  readonly host?: string;
  /** Client port. @default a free one */
  readonly port?: number;
  /** Syncs each write to disk. @default false */
  readonly fsync?: boolean;
  /** Command line put before `etcd`, e.g. to enter a namespace; it must exec. @default [] */
  readonly wrapper?: readonly string[];
  /** Further flags. @default [] */
  readonly flags?: readonly string[];
}

/** Milliseconds until etcd must serve: it takes 50, but tests share machines. */
const START_TIMEOUT = 30_000;

/** Milliseconds until a terminating etcd is killed; it waits 7 s for its clients itself. */
const STOP_TIMEOUT = 15_000;

/**
 * A real etcd of one member in a directory of its own, for tests and benches.
 *
 * @example
 * ```ts ignore
 * await using etcd = await EtcdServer.start();
 * await fetch(`${etcd.endpoint}/v2/keys/flannel/network/config`, { method: "PUT", body });
 * ```
 */
export class EtcdServer implements AsyncDisposable {
  /** Client URL. */
  readonly endpoint: string;
  /** Holds the data and `etcd.log`. */
  readonly directory: string;
  readonly #options: EtcdServerOptions;
  readonly #port: number;
  readonly #peerPort: number;
  readonly #client: Deno.HttpClient;
  #process: Deno.ChildProcess | undefined;

  private constructor(
    options: EtcdServerOptions,
    directory: string,
    port: number,
    peerPort: number,
    client: Deno.HttpClient,
  ) {
    this.#options = options;
    this.directory = directory;
    this.#port = port;
    this.#peerPort = peerPort;
    this.#client = client;
    this.endpoint = `${options.tls ? "https" : "http"}://${options.host ?? "127.0.0.1"}:${port}`;
  }

  /**
   * Starts etcd and waits until it serves.
   *
   * @throws when it has not within 30 s; the message ends with etcd's log
   */
  static async start(options: EtcdServerOptions = {}): Promise<EtcdServer> {
    const tls = options.tls?.certificates;
    const client = Deno.createHttpClient({
      // etcd does not end before it has read a byte from each connection.
      poolIdleTimeout: 2_000,
      ...(tls === undefined ? {} : {
        caCerts: [await Deno.readTextFile(tls.ca)],
        cert: await Deno.readTextFile(tls.client.cert),
        key: await Deno.readTextFile(tls.client.key),
      }),
    });
    for (let attempt = 1;; attempt++) {
      const server = new EtcdServer(
        options,
        await Deno.makeTempDir({ prefix: "etcd-" }),
        options.port ?? freePort(),
        freePort(),
        client,
      );
      try {
        await server.resume();
        return server;
      } catch (error) {
        // Somebody else may have taken a port between its choice and its use.
        const taken = String(error).includes("address already in use");
        await server.#end("SIGKILL");
        await Deno.remove(server.directory, { recursive: true });
        if (!taken || attempt === 5) {
          client.close();
          throw error;
        }
      }
    }
  }

  /** Process id; `undefined` while stopped. */
  get pid(): number | undefined {
    return this.#process?.pid;
  }

  /** Starts a stopped server again on the same port with the same data. */
  async resume(): Promise<void> {
    const { host = "127.0.0.1", tls, v2 = true, fsync = false } = this.#options;
    const { wrapper = [], flags = [] } = this.#options;
    const peer = `http://127.0.0.1:${this.#peerPort}`;
    const [command, ...args] = [
      ...wrapper,
      "etcd",
      `--data-dir=${this.directory}/data`,
      `--listen-client-urls=${tls ? "https" : "http"}://${host}:${this.#port}`,
      `--advertise-client-urls=${this.endpoint}`,
      `--listen-peer-urls=${peer}`,
      `--initial-advertise-peer-urls=${peer}`,
      `--initial-cluster=default=${peer}`,
      // One member elects itself; there is nobody to wait for.
      "--heartbeat-interval=20",
      "--election-timeout=200",
      `--enable-v2=${v2}`,
      `--unsafe-no-fsync=${!fsync}`,
      "--log-level=warn",
      `--log-outputs=${this.directory}/etcd.log`,
      ...(tls === undefined ? [] : [
        `--cert-file=${tls.certificates.server.cert}`,
        `--key-file=${tls.certificates.server.key}`,
        ...(tls.clientAuth
          ? ["--client-cert-auth", `--trusted-ca-file=${tls.certificates.ca}`]
          : []),
      ]),
      ...flags,
    ];
    this.#process = new Deno.Command(command!, { args, stdout: "null", stderr: "null" }).spawn();
    let ended: Deno.CommandStatus | undefined;
    this.#process.status.then((status) => ended = status);
    const deadline = Date.now() + START_TIMEOUT;
    while (!await this.#serves()) {
      if (ended !== undefined || Date.now() > deadline) {
        const how = ended === undefined
          ? `did not serve within ${START_TIMEOUT / 1000} s`
          : `ended with ${ended.signal ?? ended.code}`;
        const log = await Deno.readTextFile(`${this.directory}/etcd.log`).catch(() => "");
        throw new Error(`etcd at ${this.endpoint} ${how}: ${log.slice(-2000)}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** Ends the server in order; its data stay. */
  async stop(): Promise<void> {
    await this.#end("SIGTERM");
  }

  /** Kills the server at once; its data stay. */
  async kill(): Promise<void> {
    await this.#end("SIGKILL");
  }

  /** Options: `wipe` removes the data in between, as an operator does who starts afresh. */
  async restart(options: { readonly wipe?: boolean } = {}): Promise<void> {
    await this.stop();
    if (options.wipe) await Deno.remove(`${this.directory}/data`, { recursive: true });
    await this.resume();
  }

  /** Freezes the process (`true`) or lets it go on: connections stand, nothing answers. */
  async freeze(on: boolean): Promise<void> {
    this.#process?.kill(on ? "SIGSTOP" : "SIGCONT");
    while (on && !await this.#stopped()) await new Promise((resolve) => setTimeout(resolve, 2));
  }

  /**
   * Creates the user `root` and turns authentication on. In v2, guests lose all access, as they
   * have none in v3.
   */
  async enableAuth(api: "v2" | "v3", password: string): Promise<void> {
    const credentials = new TextEncoder().encode(`root:${password}`);
    const authorization = `Basic ${btoa(String.fromCharCode(...credentials))}`;
    const send = async (method: string, path: string, body: unknown) => {
      const response = await this.fetch(path, {
        method,
        body: JSON.stringify(body),
        headers: { "content-type": "application/json", authorization },
      });
      const text = await response.text();
      if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    };
    if (api === "v2") {
      await send("PUT", "/v2/auth/users/root", { user: "root", password });
      await send("PUT", "/v2/auth/enable", {});
      await send("PUT", "/v2/auth/roles/guest", {
        role: "guest",
        revoke: { kv: { read: ["/*"], write: ["/*"] } },
      });
    } else {
      await send("POST", "/v3/auth/user/add", { name: "root", password });
      await send("POST", "/v3/auth/role/add", { name: "root" });
      await send("POST", "/v3/auth/user/grant", { user: "root", role: "root" });
      await send("POST", "/v3/auth/enable", {});
    }
  }

  /** `fetch` of a path of this server, with the client certificate where there is TLS. */
  fetch(path: string, init: RequestInit = {}): Promise<Response> {
    return fetch(this.endpoint + path, { ...init, client: this.#client });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#end("SIGKILL");
    this.#client.close();
    await Deno.remove(this.directory, { recursive: true });
  }

  /** Waits until all threads have stopped: a signal takes effect when the kernel schedules each thread. */
  async #stopped(): Promise<boolean> {
    const tasks = `/proc/${this.pid}/task`;
    for await (const { name } of Deno.readDir(tasks)) {
      // proc_pid_stat(5): the state follows the command's name in parentheses.
      const stat = await Deno.readTextFile(`${tasks}/${name}/stat`);
      if (!/\) T /.test(stat)) return false;
    }
    return true;
  }

  async #serves(): Promise<boolean> {
    try {
      const response = await this.fetch("/health", { signal: AbortSignal.timeout(1000) });
      return (await response.text()).includes('"health":"true"');
    } catch {
      return false;
    }
  }

  async #end(signal: Deno.Signal): Promise<void> {
    const process = this.#process;
    if (process === undefined) return;
    this.#process = undefined;
    try {
      process.kill(signal);
      process.kill("SIGCONT");
    } catch {
      // Ended by itself.
    }
    const timer = setTimeout(() => {
      console.error(`etcd ${process.pid} ignored ${signal} for ${STOP_TIMEOUT / 1000} s`);
      process.kill("SIGKILL");
    }, STOP_TIMEOUT);
    await process.status;
    clearTimeout(timer);
  }
}

/** A TCP port of the loopback address that nobody listens on right now. */
export function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}
