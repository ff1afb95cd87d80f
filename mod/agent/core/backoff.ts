/** Times of a {@linkcode Backoff}, in milliseconds. */
export interface BackoffTimes {
  /** First delay: events within it are answered together. */
  readonly shortest: number;
  /** Limit of the delay, which doubles with each answer. */
  readonly longest: number;
  /** After so much time without an answer the delay is the shortest again. */
  readonly calm: number;
}

/** Delay before the answer to an event that may repeat, growing exponentially while it does. */
export class Backoff {
  readonly #times: BackoffTimes;
  #delay: number;
  #last = -Infinity;

  constructor(times: BackoffTimes) {
    this.#times = times;
    this.#delay = times.shortest;
  }

  /** Milliseconds to wait from now. */
  get delay(): number {
    if (this.#isCalm()) this.#delay = this.#times.shortest;
    return this.#delay;
  }

  /** Notes an answer, which doubles the next delay. */
  answered(): void {
    const { shortest, longest } = this.#times;
    this.#delay = this.#isCalm() ? shortest : Math.min(this.#delay * 2, longest);
    this.#last = performance.now();
  }

  #isCalm(): boolean {
    return performance.now() - this.#last >= this.#times.calm;
  }
}
