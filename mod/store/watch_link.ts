import { sleep } from "../async/sleep.ts";
import type { WatchOptions } from "./kv/kv.ts";

/** Pauses of a watch before it tries again, in milliseconds. */
export interface LinkTiming {
  /** Doubles with each failure ... */
  readonly firstBackoff: number;
  /** ... up to this. */
  readonly longestBackoff: number;
}

/**
 * Returns the milliseconds to wait after a break. The pauses after further failures double, with jitter.
 *
 * A server that restarts breaks all its watches at one moment, and is often back before the first of them
 * tries again: the first pause alone spreads them, over ten times `firstBackoff`.
 *
 * @param failures earlier ones in a row
 */
export function reconnectDelay(
  { firstBackoff, longestBackoff }: LinkTiming,
  failures: number,
  random: () => number = Math.random,
): number {
  if (failures === 0) return 10 * firstBackoff * random();
  return Math.min(firstBackoff * 2 ** failures, longestBackoff) * (0.5 + random() / 2);
}

/** The connection's state as the watch sees it, and how long to wait before trying again. */
export class WatchLink {
  readonly #timing: LinkTiming;
  readonly #onState: WatchOptions["onState"];
  #stands = true;
  #failures = 0;

  constructor(timing: LinkTiming, onState: WatchOptions["onState"]) {
    this.#timing = timing;
    this.#onState = onState;
  }

  stands(): void {
    this.#failures = 0;
    if (this.#stands) return;
    this.#stands = true;
    this.#onState?.(undefined);
  }

  /** Reports the break, then waits for {@linkcode reconnectDelay}. */
  async broken(error: unknown, signal: AbortSignal): Promise<void> {
    if (this.#stands) {
      this.#stands = false;
      this.#onState?.(error instanceof Error ? error : new Error(String(error)));
    }
    await this.pause(signal);
  }

  /** Waits as long as after a break, and reports none. */
  async pause(signal: AbortSignal): Promise<void> {
    await sleep(reconnectDelay(this.#timing, this.#failures++), signal);
  }
}
