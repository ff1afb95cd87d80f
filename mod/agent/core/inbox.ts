/**
 * A queue that one reader drains: everything that happens to an agent passes through it, in order,
 * so that no two things are ever done to one network at the same time.
 */
export class Inbox<T> {
  readonly #events: T[] = [];
  #wake: (() => void) | undefined;

  /** Adds an event. */
  push(event: T): void {
    this.#events.push(event);
    this.#wake?.();
  }

  /** The event that {@linkcode next} returns next, which stays in the queue. */
  get first(): T | undefined {
    return this.#events[0];
  }

  /**
   * The next event, when there is one.
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
