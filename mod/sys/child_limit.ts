/** Kills a child process that takes too long, or whose signal aborts, until it is disposed of. */
export class ChildLimit implements Disposable {
  /**
   * Fulfilled when the child is killed; never when it ends in time. Its own children live on and may hold its
   * pipes, so a caller that waits for the pipes must wait for this as well.
   */
  readonly killed: Promise<void>;
  readonly #child: Deno.ChildProcess;
  readonly #signal: AbortSignal | undefined;
  readonly #timer: ReturnType<typeof setTimeout>;
  readonly #onKilled: () => void;
  #isLate = false;

  /**
   * @param milliseconds that the child may take
   * @param signal ends it earlier
   */
  constructor(child: Deno.ChildProcess, milliseconds: number, signal?: AbortSignal) {
    this.#child = child;
    this.#signal = signal;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.killed = promise;
    this.#onKilled = resolve;
    this.#timer = setTimeout(() => {
      this.#isLate = true;
      this.#kill();
    }, milliseconds);
    signal?.addEventListener("abort", this.#kill, { once: true });
  }

  /** True when the child was killed because its time was over. */
  get isLate(): boolean {
    return this.#isLate;
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#signal?.removeEventListener("abort", this.#kill);
  }

  readonly #kill = (): void => {
    try {
      this.#child.kill("SIGKILL");
    } catch {
      // It has just ended by itself.
    }
    this.#onKilled();
  };
}
