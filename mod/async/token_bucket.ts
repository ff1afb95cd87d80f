/** Tolerance for rounding of summed fractions: after the returned wait, {@linkcode TokenBucket.take} must succeed. */
const ROUNDING = 1e-9;

/**
 * A token bucket, which limits the rate of packets. It holds a burst and fills at a steady rate.
 */
export class TokenBucket {
  readonly #rate: number;
  readonly #burst: number;
  #tokens: number;
  #filled: number;

  /**
   * @param rate packets a second
   * @param burst packets that may leave at once
   * @param now milliseconds of a monotonic clock
   */
  constructor(rate: number, burst: number, now: number) {
    if (!(rate > 0) || !(burst >= 1)) throw new RangeError("rate and burst must be above zero");
    this.#rate = rate;
    this.#burst = burst;
    this.#tokens = burst;
    this.#filled = now;
  }

  /**
   * Takes a token for one packet.
   *
   * @returns 0 when a token was taken; otherwise the milliseconds until one is available
   */
  take(now: number): number {
    const gained = (now - this.#filled) * this.#rate / 1000;
    this.#tokens = Math.min(this.#burst, this.#tokens + gained);
    this.#filled = now;
    if (this.#tokens < 1 - ROUNDING) return Math.ceil((1 - this.#tokens) * 1000 / this.#rate);
    this.#tokens = Math.max(0, this.#tokens - 1);
    return 0;
  }
}
