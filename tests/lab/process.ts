/** How long {@linkcode LabProcess.waitFor} waits by default, in milliseconds. */
const TIMEOUT_MS = 60_000;

/** How long a process may take to end after SIGTERM before it gets SIGKILL, in milliseconds. */
const GRACE = 10_000;

interface Waiter {
  readonly pattern: RegExp;
  readonly from: number;
  readonly resolve: (match: RegExpExecArray) => void;
}

/** Options of {@linkcode LabProcess.waitFor}. */
export interface WaitOptions {
  /** Start offset of the search in the output; see {@linkcode LabProcess.mark}. @default 0 */
  readonly from?: number;
  /** Milliseconds. @default 60000 */
  readonly timeout?: number;
}

/**
 * A process inside a lab host. Its standard output and error are collected together, as a journal
 * would; signals go to the process itself, not to the `nsenter` that brought it in.
 */
export class LabProcess implements AsyncDisposable {
  /** How the process ended: its own exit code or signal. */
  readonly status: Promise<Deno.CommandStatus>;
  /** Process id as seen from outside the host. */
  readonly pid: number;
  readonly #name: string;
  /** Of the `nsenter` that waits for the process. */
  readonly #parent: number;
  #output = "";
  #ended = false;
  readonly #waiters = new Set<Waiter>();

  private constructor(name: string, pid: number, child: Deno.ChildProcess) {
    this.#name = name;
    this.pid = pid;
    this.#parent = child.pid;
    const drained = Promise.all([this.#collect(child.stdout), this.#collect(child.stderr)]);
    this.status = (async () => {
      const status = await child.status;
      this.#ended = true;
      await drained;
      return status;
    })();
  }

  /**
   * Starts a command that `nsenter --pid` carries into a host: the process is its only child.
   *
   * @param name for messages
   */
  static async start(name: string, command: Deno.Command): Promise<LabProcess> {
    const child = command.spawn();
    let ended = false;
    child.status.then(() => ended = true);
    // nsenter forks at once; a command that ended before it was seen is not an error here.
    let pid: number | undefined;
    while (pid === undefined && !ended) {
      pid = onlyChildOf(child.pid);
      if (pid === undefined) await delay(1);
    }
    return new LabProcess(name, pid ?? child.pid, child);
  }

  /** All output so far. */
  get output(): string {
    return this.#output;
  }

  /** True until the process has ended. */
  get running(): boolean {
    return !this.#ended;
  }

  /** Returns the end of the output, the start of a later search. */
  mark(): number {
    return this.#output.length;
  }

  /**
   * Waits until the output matches.
   *
   * @throws {Error} with the output, when the process ends or the time is over before
   */
  async waitFor(
    pattern: RegExp | string,
    { from = 0, timeout = TIMEOUT_MS }: WaitOptions = {},
  ): Promise<RegExpExecArray> {
    const regex = typeof pattern === "string" ? new RegExp(escapeRegExp(pattern)) : pattern;
    const { promise, resolve } = Promise.withResolvers<RegExpExecArray>();
    const waiter: Waiter = { pattern: regex, from, resolve };
    const timer = Promise.withResolvers<string>();
    const id = setTimeout(() => timer.resolve(`not within ${timeout} ms`), timeout);
    this.#waiters.add(waiter);
    try {
      this.#wake(waiter);
      const outcome = await Promise.race([
        promise,
        timer.promise,
        this.status.then(({ code, signal }) => `it ended (code ${code}, signal ${signal})`),
      ]);
      if (typeof outcome !== "string") return outcome;
      throw new Error(`${this.#name} did not print ${regex}: ${outcome}\n${this.#output}`);
    } finally {
      clearTimeout(id);
      this.#waiters.delete(waiter);
    }
  }

  /** Sends a signal to the process. One that has ended already gets none. */
  signal(signal: Deno.Signal): void {
    if (!this.running) return;
    try {
      Deno.kill(this.pid, signal);
      // nsenter stops with its child, and does not see by itself that that goes on.
      if (signal === "SIGCONT") Deno.kill(this.#parent, signal);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }

  /** Ends the process with SIGTERM, and with SIGKILL when that takes too long. */
  async stop(grace = GRACE): Promise<Deno.CommandStatus> {
    this.signal("SIGTERM");
    const id = setTimeout(() => this.signal("SIGKILL"), grace);
    try {
      return await this.status;
    } finally {
      clearTimeout(id);
    }
  }

  /** Ends the process with SIGKILL. */
  kill(): Promise<Deno.CommandStatus> {
    this.signal("SIGKILL");
    return this.status;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #collect(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<void> {
    for await (const text of stream.pipeThrough(new TextDecoderStream())) {
      this.#output += text;
      for (const waiter of this.#waiters) this.#wake(waiter);
    }
  }

  #wake({ pattern, from, resolve }: Waiter): void {
    const match = pattern.exec(this.#output.slice(from));
    if (match !== null) resolve(match);
  }
}

function onlyChildOf(pid: number): number | undefined {
  try {
    const children = Deno.readTextFileSync(`/proc/${pid}/task/${pid}/children`).trim();
    return children === "" ? undefined : Number(children.split(" ")[0]);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

function escapeRegExp(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");
}

/** Waits some milliseconds. */
export function delay(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
