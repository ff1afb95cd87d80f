/** What sums of fractions may lack of a whole token: who waited as told is not to be told to wait again. */
const ROUNDING = 1e-9;

/**
 * Spreads packets over time: a token bucket. It holds a burst and fills at a steady rate.
 */
export class TokenBucket {
  readonly #rate: number;
  readonly #burst: number;
  #tokens: number;
  #filled: number;

  /**
   * @param rate packets a second
   * @param burst packets that may leave at once
   * @param now in milliseconds, of a clock that never goes back
   */
  constructor(rate: number, burst: number, now: number) {
    if (!(rate > 0) || !(burst >= 1)) throw new RangeError("rate and burst must be above zero");
    this.#rate = rate;
    this.#burst = burst;
    this.#tokens = burst;
    this.#filled = now;
  }

  /**
   * Takes leave to send a packet.
   *
   * @returns 0 when it may leave now; otherwise the milliseconds until one may, and nothing is taken
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
