/** From the first request to the work, in milliseconds: what changes rarely changes alone. */
const GATHERING = 200;

/** The work takes at most one part in so many of the time. */
const SHARE = 20;

/** Does something soon after it was asked for, once for all who ask meanwhile, and never all the time. */
export class Throttle implements Disposable {
  readonly #work: () => void;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Before it, as `performance.now()` tells time, the work is not done again. */
  #rest = 0;

  constructor(work: () => void) {
    this.#work = work;
  }

  request(): void {
    if (this.#timer !== undefined) return;
    const delay = Math.max(GATHERING, this.#rest - performance.now());
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      const started = performance.now();
      this.#work();
      const ended = performance.now();
      this.#rest = ended + SHARE * (ended - started);
    }, delay);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
