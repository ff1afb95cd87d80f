import { sleep } from "../async/sleep.ts";
import type { WatchOptions } from "./store.ts";

/** How long a watch waits before it tries again, in milliseconds. */
export interface LinkTiming {
  /** Longest pause after a first failure; it doubles with each further one ... */
  readonly firstBackoff: number;
  /** ... up to this. */
  readonly longestBackoff: number;
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

  /** Reports the break, then waits: twice as long each time, with jitter against stampedes. */
  async broken(error: unknown, signal: AbortSignal): Promise<void> {
    if (this.#stands) {
      this.#stands = false;
      this.#onState?.(error instanceof Error ? error : new Error(String(error)));
    }
    await this.pause(signal);
  }

  /** Waits as long as after a break, and reports none. */
  async pause(signal: AbortSignal): Promise<void> {
    const { firstBackoff, longestBackoff } = this.#timing;
    const most = Math.min(firstBackoff * 2 ** this.#failures++, longestBackoff);
    await sleep(most * (0.5 + Math.random() / 2), signal);
  }
}
