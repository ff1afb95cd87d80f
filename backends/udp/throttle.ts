/** From the first request to the work; one cause often makes several requests. */
const DELAY_MS = 200;

/** The work takes at most this fraction of the time: 1 / SHARE. */
const SHARE = 20;

/** Runs work soon after a request, once for all requests until then, and for a bounded share of the time. */
export class Throttle implements Disposable {
  readonly #work: () => void;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Earliest time of the next run; `performance.now()`. */
  #restUntil = 0;

  constructor(work: () => void) {
    this.#work = work;
  }

  /** Requests a run. */
  request(): void {
    if (this.#timer !== undefined) return;
    const delay = Math.max(DELAY_MS, this.#restUntil - performance.now());
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      const started = performance.now();
      this.#work();
      const ended = performance.now();
      this.#restUntil = ended + SHARE * (ended - started);
    }, delay);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
