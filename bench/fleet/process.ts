import type { LabHost } from "../../tests/lab/host.ts";
import type { StoreOptions } from "../../mod/store/options.ts";

const WORKER = new URL("worker.ts", import.meta.url).pathname;

/** A process of `worker.ts` in the network of a lab host. */
export class FleetProcess implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #answers: AsyncGenerator<unknown>;

  private constructor(process: Deno.ChildProcess) {
    this.#process = process;
    this.#writer = process.stdin.getWriter();
    this.#answers = answers(process.stdout);
  }

  /** Starts it, and waits until its agents exist; they do nothing yet. @param first number of its first agent */
  static async start(
    host: LabHost,
    first: number,
    count: number,
    store: StoreOptions,
  ): Promise<FleetProcess> {
    const started = new FleetProcess(
      new Deno.Command("nsenter", {
        args: [
          ...["--target", String(host.pid), "--net", "--", Deno.execPath(), "run", "-A"],
          ...["--no-check", WORKER, String(first), String(count), JSON.stringify(store)],
        ],
        env: { NO_COLOR: "1" },
        stdin: "piped",
        stdout: "piped",
        stderr: "inherit",
      }).spawn(),
    );
    await started.#answers.next();
    return started;
  }

  /** Gives a command. @returns its answer */
  async command<T = void>(line: string): Promise<T> {
    await this.#writer.write(new TextEncoder().encode(`${line}\n`));
    const { done, value } = await this.#answers.next();
    if (done) throw new Error(`a process of the fleet ended at "${line}"`);
    return value as T;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writer.close().catch(() => {}); // It has ended already.
    await this.#process.status;
  }
}

async function* answers(stream: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<unknown> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    rest += text;
    for (let end; (end = rest.indexOf("\n")) >= 0; rest = rest.slice(end + 1)) {
      yield JSON.parse(rest.slice(0, end));
    }
  }
}
