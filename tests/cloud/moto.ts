import { linesOf } from "../lab/command.ts";

/** The region that the fake EC2 is in. */
export const REGION = "eu-west-1";

const SCRIPT = new URL("./moto_server.py", import.meta.url).pathname;

/** An answer of boto3; its members depend on the call. */
// deno-lint-ignore no-explicit-any
export type BotoAnswer = any;

/**
 * An independent implementation of EC2: Debian's python3-moto, on a loopback port, with Amazon's own
 * client, boto3, to set it up and to inspect it.
 *
 * @example
 * ```ts ignore
 * await using moto = await Moto.start();
 * const { Vpc } = await moto.call("ec2", "create_vpc", { CidrBlock: "172.28.0.0/16" });
 * ```
 */
export class Moto implements AsyncDisposable {
  /** `http://127.0.0.1:41234` */
  readonly endpoint: string;
  readonly #process: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;
  readonly #lines: AsyncIterator<string>;
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(process: Deno.ChildProcess, lines: AsyncIterator<string>, port: number) {
    this.#process = process;
    this.#input = process.stdin.getWriter();
    this.#lines = lines;
    this.endpoint = `http://127.0.0.1:${port}`;
  }

  /** Starts it, with no resources but those that every account has. */
  static async start(): Promise<Moto> {
    const process = new Deno.Command("/usr/bin/python3", {
      args: [SCRIPT],
      clearEnv: true,
      env: { PATH: "/usr/bin:/bin", HOME: "/nonexistent" },
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    const lines = linesOf(process.stdout)[Symbol.asyncIterator]();
    const { value, done } = await lines.next();
    if (done) throw new Error("moto has not started; scripts/setup.sh installs python3-moto");
    return new Moto(process, lines, Number(value));
  }

  /**
   * Calls Amazon's client.
   *
   * @throws {Error} when the call fails
   */
  async call(
    service: "ec2" | "iam" | "sts",
    method: string,
    args: Readonly<Record<string, unknown>> = {},
  ): Promise<BotoAnswer> {
    const before = this.#turn;
    const asking = (async () => {
      await before.catch(() => {});
      const request = JSON.stringify({ service, method, arguments: args });
      await this.#input.write(new TextEncoder().encode(`${request}\n`));
      const { value, done } = await this.#lines.next();
      if (done) throw new Error("moto has ended");
      return JSON.parse(value) as { result?: BotoAnswer; error?: string };
    })();
    this.#turn = asking;
    const { result, error } = await asking;
    if (error !== undefined) throw new Error(`${service} ${method}: ${error}`);
    return result;
  }

  /** Removes all resources but those that every account has. */
  reset(): Promise<void> {
    return this.#post("reset");
  }

  /**
   * Begins to check signatures and policies, as AWS does; every access key must be one of IAM's from
   * here on.
   */
  enforce(): Promise<void> {
    return this.#post("reset-auth", "0");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#input.close().catch(() => {});
    const timer = setTimeout(() => this.#process.kill("SIGKILL"), 5_000);
    await this.#process.status;
    clearTimeout(timer);
    await this.#lines.return?.();
  }

  async #post(path: string, body?: string): Promise<void> {
    const init = { method: "POST", ...(body === undefined ? {} : { body }) };
    const response = await fetch(`${this.endpoint}/moto-api/${path}`, init);
    await response.body?.cancel();
  }
}
