/**
 * A signal that fires after a time or with another signal, whichever comes first, and leaves
 * neither timer nor listener behind when disposed. (`AbortSignal.any` and `AbortSignal.timeout`
 * keep their timers and listeners until they are collected, and signals here live as long as the agent. In Deno 2.4 the former
 * is collected in spite of its listeners, and then never fires.)
 *
 * Disposal fires it as well: what still runs under it is given up.
 */
export class Deadline implements Disposable {
  readonly #controller = new AbortController();
  readonly #parents: readonly AbortSignal[];
  #timer: ReturnType<typeof setTimeout> | undefined;
  #passed = false;
  readonly #follow = (event: Event) => {
    this.#controller.abort((event.target as AbortSignal).reason);
  };

  /**
   * @param ms milliseconds until it fires; `Infinity` for never by time
   * @param reason makes the reason it then fires with
   * @param parents signals to follow; their reason is passed on
   */
  constructor(ms: number, reason: () => unknown, ...parents: (AbortSignal | undefined)[]) {
    this.#parents = parents.filter((parent) => parent !== undefined);
    this.extend(ms, reason);
    for (const parent of this.#parents) {
      if (parent.aborted) this.#controller.abort(parent.reason);
      else parent.addEventListener("abort", this.#follow);
    }
  }

  /** Fires at the deadline or with a parent. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** True when it was the time that ran out. */
  get passed(): boolean {
    return this.#passed;
  }

  /** Restarts the time. */
  extend(ms: number, reason: () => unknown): void {
    clearTimeout(this.#timer);
    if (ms === Infinity) return;
    this.#timer = setTimeout(() => {
      this.#passed = !this.signal.aborted;
      this.#controller.abort(reason());
    }, ms);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    for (const parent of this.#parents) parent.removeEventListener("abort", this.#follow);
    this.#controller.abort(new Error("given up"));
  }
}

/** Returns a signal that fires with any of the parents, until it is disposed of; that fires it as well. */
export function linkedSignal(...parents: (AbortSignal | undefined)[]): Deadline {
  return new Deadline(Infinity, () => undefined, ...parents);
}
