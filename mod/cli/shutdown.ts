const SIGNALS = ["SIGINT", "SIGTERM"] as const;

/**
 * Turns the first SIGINT or SIGTERM into an abort, and restores the signals' default action: a second signal ends the
 * process at once, even one that is busy and never returns to its event loop. SIGHUP keeps its default action, as in
 * flannel.
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

  /** Restores the signals' default action. */
  [Symbol.dispose](): void {
    for (const name of SIGNALS) Deno.removeSignalListener(name, this.#listener);
  }
}
