/** Most events that wait for one listener; further ones are lost, and it gets an overrun event. */
const MAX_WAITING = 65_536;

/**
 * One source of events for any number of listeners. Each wait for the kernel's events takes a thread, of which
 * the runtime has 32 for all that it does: with a wait for each of eleven networks nothing else would go on.
 */
export class Broadcast<T> {
  readonly #listeners = new Set<Listener<T>>();
  readonly #ending = new AbortController();
  readonly #lost: T;
  readonly #onEnd: () => void;

  /**
   * @param open begins to listen, until the signal aborts
   * @param lost stands for events that were lost
   * @param onEnd called when nobody listens any more, or the source has failed: this is of no use then
   * @throws what `open` throws
   */
  constructor(
    open: (signal: AbortSignal) => AsyncIterable<T[]>,
    lost: T,
    onEnd: () => void,
  ) {
    this.#lost = lost;
    this.#onEnd = onEnd;
    this.#hand(open(this.#ending.signal));
  }

  /** Listens from the call on, until the signal aborts. The events can be iterated once. */
  listen(signal: AbortSignal): AsyncIterable<T[]> {
    const listener = new Listener<T>(this.#lost);
    const leave = () => {
      signal.removeEventListener("abort", leave);
      listener.end();
      if (this.#listeners.delete(listener) && this.#listeners.size === 0) this.#end();
    };
    this.#listeners.add(listener);
    signal.addEventListener("abort", leave);
    if (signal.aborted) leave();
    return { [Symbol.asyncIterator]: () => listener.events(leave) };
  }

  async #hand(events: AsyncIterable<T[]>): Promise<void> {
    try {
      for await (const group of events) {
        for (const listener of this.#listeners) listener.push(group);
      }
    } catch (error) {
      for (const listener of this.#listeners) listener.end({ error });
      this.#end();
    }
  }

  #end(): void {
    this.#onEnd();
    this.#ending.abort();
  }
}

/** The queue of one listener. */
class Listener<T> {
  readonly #lost: T;
  #groups: T[][] = [];
  #waiting = 0;
  #ended = false;
  #failure: { readonly error: unknown } | undefined;
  #wake: (() => void) | undefined;
  #isIterated = false;

  constructor(lost: T) {
    this.#lost = lost;
  }

  push(group: T[]): void {
    this.#waiting += group.length;
    if (this.#waiting > MAX_WAITING) [this.#groups, this.#waiting] = [[[this.#lost]], 1];
    else this.#groups.push(group);
    this.#wake?.();
  }

  end(failure?: { readonly error: unknown }): void {
    this.#ended = true;
    this.#failure ??= failure;
    this.#wake?.();
  }

  async *events(leave: () => void): AsyncGenerator<T[], void, undefined> {
    if (this.#isIterated) throw new TypeError("a monitor can be iterated once");
    this.#isIterated = true;
    try {
      for (;;) {
        if (this.#failure !== undefined) throw this.#failure.error;
        if (this.#ended) return;
        const group = this.#groups.shift();
        if (group === undefined) {
          await new Promise<void>((resolve) => this.#wake = resolve);
          continue;
        }
        this.#waiting -= group.length;
        yield group;
      }
    } finally {
      leave();
    }
  }
}

/** Broadcasts by their groups: each starts with its first listener, and ends with its last one. */
export class Broadcasts<T> {
  readonly #open: (groups: number, signal: AbortSignal) => AsyncIterable<T[]>;
  readonly #lost: T;
  readonly #made = new Map<string, Broadcast<T>>();

  /**
   * @param open begins to listen to groups, in the thread's network namespace
   * @param lost stands for events that were lost
   */
  constructor(
    open: (groups: number, signal: AbortSignal) => AsyncIterable<T[]>,
    lost: T,
  ) {
    this.#open = open;
    this.#lost = lost;
  }

  /**
   * Listens in the thread's network namespace, as {@linkcode Broadcast.listen} does.
   *
   * @throws what opening throws
   */
  listen(groups: number, signal: AbortSignal): AsyncIterable<T[]> {
    const key = `${Deno.readLinkSync("/proc/thread-self/ns/net")} ${groups}`;
    let found = this.#made.get(key);
    if (found === undefined) {
      const made: Broadcast<T> = new Broadcast(
        (signal) => this.#open(groups, signal),
        this.#lost,
        () => this.#made.get(key) === made && this.#made.delete(key),
      );
      this.#made.set(key, found = made);
    }
    return found.listen(signal);
  }
}
