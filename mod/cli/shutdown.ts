const SIGNALS = ["SIGINT", "SIGTERM"] as const;

/**
 * Turns the first SIGINT or SIGTERM into an abort. From then on the signals' default action is
 * back: a second one ends the process at once, even one that is busy and will not look at
 * its events again. SIGHUP keeps its default action throughout, as in flannel.
 *
 * @example
 * ```ts
 * import { Shutdown } from "./shutdown.ts";
 * using shutdown = new Shutdown();
 * console.assert(!shutdown.signal.aborted);
 * ```
 */
export class Shutdown implements Disposable {
  readonly #controller = new AbortController();
  readonly #listener = () => {
    this[Symbol.dispose]();
    this.#controller.abort();
  };

  constructor() {
    for (const name of SIGNALS) Deno.addSignalListener(name, this.#listener);
  }

  /** Aborted by the first signal. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Gives the signals their default action back. */
  [Symbol.dispose](): void {
    for (const name of SIGNALS) Deno.removeSignalListener(name, this.#listener);
  }
}
