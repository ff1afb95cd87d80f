/** How many descriptors a program may have: some 20 are the runtime's own. */
const LIMIT = 48;

/** As many connections as use up all of them. */
export const MORE_THAN_ENOUGH = 64;

/** A program that soon runs out of descriptors (RLIMIT_NOFILE), in a process of its own. */
export class FewDescriptors implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #collected: Promise<void>;
  #errors = "";
  #news = Promise.withResolvers<void>();

  private constructor(child: Deno.ChildProcess) {
    this.#child = child;
    this.#collected = this.#collect();
  }

  /**
   * Starts it, and waits for the line that it writes when it is ready.
   *
   * @param code JavaScript
   * @param args its `Deno.args`
   */
  static async start(code: string, ...args: readonly string[]): Promise<FewDescriptors> {
    // Features for which Deno opens descriptors at their first use; it aborts without them.
    const signals = 'Deno.addSignalListener("SIGTERM", () => Deno.exit());';
    const child = new Deno.Command("prlimit", {
      args: [`--nofile=${LIMIT}`, Deno.execPath(), "eval", signals + code, ...args],
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const started = new FewDescriptors(child);
    const output = child.stdout.getReader();
    const { done } = await output.read();
    await output.cancel();
    if (done) throw new Error(`the program has ended: ${await started.end()}`);
    return started;
  }

  /** Waits until it has written this to standard error. @throws {Error} when it ends before */
  async waitFor(pattern: RegExp): Promise<void> {
    while (!pattern.test(this.#errors)) await this.#news.promise;
  }

  /** Ends it. @returns what it has written to standard error */
  async end(): Promise<string> {
    try {
      this.#child.kill("SIGKILL");
    } catch {
      // It has ended by itself, as its output shows.
    }
    await this.#child.status;
    await this.#collected;
    return this.#errors;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end();
  }

  async #collect(): Promise<void> {
    for await (const text of this.#child.stderr.pipeThrough(new TextDecoderStream())) {
      this.#errors += text;
      this.#news.resolve();
      this.#news = Promise.withResolvers();
    }
    this.#news.promise.catch(() => {});
    this.#news.reject(new Error(`the program has ended: ${this.#errors}`));
  }
}
