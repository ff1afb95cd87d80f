/**
 * A queue with one reader. All events of an agent pass through it in order, so that no two steps change
 * one network at the same time.
 */
export class Inbox<T> {
  readonly #events: T[] = [];
  #wake: (() => void) | undefined;

  /** Adds an event. */
  push(event: T): void {
    this.#events.push(event);
    this.#wake?.();
  }

  /** The first event of the queue, which stays there. */
  get first(): T | undefined {
    return this.#events[0];
  }

  /**
   * Removes and returns the first event; waits while there is none.
   *
   * @throws the reason of `signal` when it aborts first
   */
  async next(signal: AbortSignal): Promise<T> {
    while (this.#events.length === 0) {
      signal.throwIfAborted();
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      signal.addEventListener("abort", resolve as () => void);
      await promise;
      signal.removeEventListener("abort", resolve as () => void);
      this.#wake = undefined;
    }
    signal.throwIfAborted();
    return this.#events.shift()!;
  }
}
