import { TokenBucket } from "../async/token_bucket.ts";
import { addressKey } from "../http/quota.ts";

/** Wrong tokens of one address that are answered 401 at once. */
const BURST = 20;
/** Further ones a second. */
const RATE = 1;
/** Addresses that are remembered: some 200 bytes each. */
const MOST_ADDRESSES = 4_096;

/** Limits the wrong tokens of each client address: its IPv4 address, or the /64 of its IPv6 address. */
export class WrongTokenLimit {
  readonly #buckets = new Map<string, TokenBucket>();

  /**
   * Counts a wrong token.
   *
   * @param now milliseconds of a monotonic clock
   * @returns false when the address is over its limit
   */
  count(address: string, now = performance.now()): boolean {
    const key = addressKey(address);
    const bucket = this.#buckets.get(key) ?? new TokenBucket(RATE, BURST, now);
    // The map keeps the order of insertion, so that the first key is the longest unused.
    this.#buckets.delete(key);
    this.#buckets.set(key, bucket);
    if (this.#buckets.size > MOST_ADDRESSES) {
      this.#buckets.delete(this.#buckets.keys().next().value!);
    }
    return bucket.take(now) === 0;
  }

  /** Addresses that are remembered. */
  get addresses(): number {
    return this.#buckets.size;
  }
}
