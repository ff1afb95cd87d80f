/** setTimeout's longest delay in milliseconds, 24.8 days; a longer one would fire at once. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

/**
 * One timer that is set anew as plans change.
 *
 * It keeps the process alive while it is set.
 */
export class Timer implements Disposable {
  readonly #fire: () => void;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** @param fire called each time that the timer runs out */
  constructor(fire: () => void) {
    this.#fire = fire;
  }

  /** True while it is set. */
  get isSet(): boolean {
    return this.#timer !== undefined;
  }

  /** Fires once after `milliseconds`, or after 24.8 days if that is less, in place of what was planned. */
  set(milliseconds: number): void {
    this.clear();
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#fire();
    }, Math.min(milliseconds, MAX_TIMEOUT_MS));
  }

  /** Fires not at all. */
  clear(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  [Symbol.dispose](): void {
    this.clear();
  }
}
