/** setTimeout's longest delay in milliseconds, 24.8 days; a longer one would fire at once. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

/**
 * A timer that can be set repeatedly; each call replaces the former time. It keeps the process alive
 * while it is set.
 */
export class Timer implements Disposable {
  readonly #fire: () => void;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** @param fire called each time that the timer expires */
  constructor(fire: () => void) {
    this.#fire = fire;
  }

  /** True while it is set. */
  get isSet(): boolean {
    return this.#timer !== undefined;
  }

  /** Fires once after `milliseconds`, at most 24.8 days; replaces the former time. */
  set(milliseconds: number): void {
    this.clear();
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#fire();
    }, Math.min(milliseconds, MAX_TIMEOUT_MS));
  }

  /** Cancels the timer. */
  clear(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  [Symbol.dispose](): void {
    this.clear();
  }
}
