/** Times of a {@linkcode Backoff}, in milliseconds. */
export interface BackoffTimes {
  /** What comes together is answered together. */
  readonly shortest: number;
  /** Who goes on and on is answered ever more slowly, up to this. */
  readonly longest: number;
  /** After so much calm, all begins anew at the shortest delay. */
  readonly calm: number;
}

/** How long to wait before something is answered that may be done again and again. */
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

  /** It has just been answered. */
  answered(): void {
    const { shortest, longest } = this.#times;
    this.#delay = this.#isCalm() ? shortest : Math.min(this.#delay * 2, longest);
    this.#last = performance.now();
  }

  #isCalm(): boolean {
    return performance.now() - this.#last >= this.#times.calm;
  }
}
