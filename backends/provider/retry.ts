import { sleep } from "../../mod/async/sleep.ts";
import { isTimeout } from "../../mod/async/timeout.ts";
import { ProviderError } from "./errors.ts";

/** Upper bound of the first wait, in milliseconds; it doubles with each. */
const FIRST = 250;

/** Upper bound of any wait, in milliseconds. */
const MAX_DELAY_MS = 8_000;

/** Options of {@linkcode retry}. */
export interface RetryOptions {
  /** Also of the calls. When its reason is a `TimeoutError`, the last failure is thrown in its place. */
  readonly signal: AbortSignal;
  /** Uniform in [0, 1). @default Math.random */
  readonly random?: () => number;
}

/**
 * Repeats a call that was throttled or found the provider down, until it succeeds or the time is
 * over. Waits with full jitter: a random time between nothing and a bound that doubles, so that a
 * hundred hosts that were throttled together do not come back together.
 *
 * @throws {ProviderError} at once for errors that waiting does not fix, and for the last failure
 * when the time is over
 * @throws the signal's reason when somebody gave up
 */
export async function retry<T>(
  call: () => Promise<T>,
  { signal, random = Math.random }: RetryOptions,
): Promise<T> {
  let failure = new ProviderError("unavailable", "no answer from the provider in time");
  for (let bound = FIRST;; bound = Math.min(bound * 2, MAX_DELAY_MS)) {
    try {
      return await call();
    } catch (error) {
      // The time may be over during a call as well as between two.
      if (signal.aborted && error === signal.reason) throw isTimeout(error) ? failure : error;
      if (!(error instanceof ProviderError) || !error.isPassing) throw error;
      failure = error;
      await sleep(random() * bound, signal);
      if (signal.aborted) throw isTimeout(signal.reason) ? failure : signal.reason;
    }
  }
}
