import { FLANNELD } from "./executable.ts";
import type { LabHost } from "./host.ts";
import type { LabProcess } from "./process.ts";

/** Repository root. */
const ROOT = new URL("../../", import.meta.url).pathname;

/** The unit under test. */
const UNIT = `${ROOT}scripts/systemd/flanneld.service`;

/** Paths of files in an installation, and their paths in the repository. */
const INSTALLED: Readonly<Record<string, string>> = {
  "/usr/bin/flanneld": FLANNELD,
  "/usr/libexec/flannel/mk-docker-opts.sh": `${ROOT}scripts/mk-docker-opts.sh`,
};

export { FLANNELD };

/** Options of {@linkcode LabUnit.start}. */
export interface UnitOptions {
  /** Wait for READY=1 and run ExecStartPost. @default true */
  readonly wait?: boolean;
  /** Milliseconds to READY=1. @default 30000 */
  readonly timeout?: number;
  /** Words before each command, which lead into a root with an installation. @default the host's own root */
  readonly enter?: readonly string[];
}

/**
 * `systemctl start flanneld` without systemd: takes ExecStart, EnvironmentFile and ExecStartPost
 * from our unit file and the environment from the host's /etc/sysconfig/flanneld, waits for READY=1
 * as `Type=notify` does, then runs ExecStartPost.
 */
export class LabUnit implements AsyncDisposable {
  readonly process: LabProcess;
  /** Everything that came over the notify socket, one assignment each. */
  readonly notifications: string[] = [];
  readonly #host: LabHost;
  readonly #socket: Deno.DatagramConn;
  readonly #ready = Promise.withResolvers<void>();

  private constructor(host: LabHost, process: LabProcess, socket: Deno.DatagramConn) {
    this.#host = host;
    this.process = process;
    this.#socket = socket;
  }

  /**
   * Starts the unit.
   *
   * @throws {Error} with the agent's output, when it ends or is not ready in time
   */
  static async start(host: LabHost, options: UnitOptions = {}): Promise<LabUnit> {
    const unit = parseUnit(await Deno.readTextFile(UNIT));
    const env = await readEnvironment(host, unit.get("EnvironmentFile") ?? []);
    // Not in /run, which tests make read-only.
    const path = `${host.dir}/notify-${crypto.randomUUID().slice(0, 8)}`;
    const socket = Deno.listenDatagram({ transport: "unixpacket", path });
    const process = await host.spawn(commandOf(unit, "ExecStart", env, options.enter), {
      env: { ...env, NOTIFY_SOCKET: path },
    });
    const started = new LabUnit(host, process, socket);
    started.#listen();
    try {
      if (options.wait ?? true) {
        await started.ready(options.timeout);
        await host.exec(commandOf(unit, "ExecStartPost", env, options.enter), { env });
      }
      return started;
    } catch (error) {
      await started[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Waits for READY=1. */
  async ready(timeout = 30_000): Promise<void> {
    const { promise: late, reject } = Promise.withResolvers<never>();
    const id = setTimeout(() => reject(new Error(`no READY=1 within ${timeout} ms`)), timeout);
    const ended = this.process.status.then(({ code }) => {
      throw new Error(`flanneld ended with ${code}`);
    });
    ended.catch(() => {});
    try {
      await Promise.race([this.#ready.promise, late, ended]);
    } catch (error) {
      const { message } = error as Error;
      throw new Error(`${this.#host.name}: ${message}\n${this.process.output}`, { cause: error });
    } finally {
      clearTimeout(id);
    }
  }

  /** `systemctl stop flanneld`. */
  async stop(): Promise<Deno.CommandStatus> {
    const status = await this.process.stop();
    this.#close();
    return status;
  }

  /** `kill -9`. */
  async kill(): Promise<Deno.CommandStatus> {
    const status = await this.process.kill();
    this.#close();
    return status;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  #close(): void {
    try {
      this.#socket.close();
    } catch (error) {
      if (!(error instanceof Deno.errors.BadResource)) throw error;
    }
  }

  async #listen(): Promise<void> {
    for await (const [datagram] of this.#socket) {
      this.notifications.push(...new TextDecoder().decode(datagram).split("\n"));
      if (this.notifications.includes("READY=1")) this.#ready.resolve();
    }
  }
}

/** All values of each key of a unit file. */
function parseUnit(text: string): Map<string, string[]> {
  const unit = new Map<string, string[]>();
  for (const line of text.split("\n")) {
    const match = /^(\w+)=(.*)$/.exec(line);
    if (match === null) continue;
    unit.set(match[1]!, [...unit.get(match[1]!) ?? [], match[2]!.trim()]);
  }
  return unit;
}

/** EnvironmentFile of systemd.exec(5), as far as the unit and the guide use it. */
async function readEnvironment(
  host: LabHost,
  files: readonly string[],
): Promise<Record<string, string>> {
  const env: Record<string, string> = {};
  for (const file of files) {
    let text: string;
    try {
      text = await host.readTextFile(file.replace(/^-/, ""));
    } catch (error) {
      if (file.startsWith("-") && error instanceof Deno.errors.NotFound) continue;
      throw error;
    }
    for (const line of text.split("\n")) {
      const match = /^\s*([A-Za-z_]\w*)=(.*?)\s*$/.exec(line);
      if (match !== null) env[match[1]!] = match[2]!.replace(/^"(.*)"$/, "$1");
    }
  }
  return env;
}

/** The words of a command line; `$NAME` is split on white space, as systemd does. */
function commandOf(
  unit: Map<string, string[]>,
  key: string,
  env: Readonly<Record<string, string>>,
  enter?: readonly string[],
): string[] {
  const line = unit.get(key)?.[0];
  if (line === undefined) throw new Error(`${UNIT} has no ${key}`);
  const words = line.split(/\s+/).flatMap((word) => {
    const variable = /^\$(\w+)$/.exec(word)?.[1];
    if (variable !== undefined) return (env[variable] ?? "").split(/\s+/).filter((w) => w !== "");
    return [enter === undefined ? INSTALLED[word] ?? word : word];
  });
  return [...enter ?? [], ...words];
}
