/** Options of {@linkcode Repeats}. */
export interface RepeatsOptions<Line> {
  /**
   * Receives a suppressed line when its window ends.
   *
   * @param count how often
   * @param seconds from the first written line to the last suppressed one
   */
  readonly onOmitted: (line: Line, count: number, seconds: number) => void;
  /** How often a line may come within {@linkcode window}. @default 5 */
  readonly burst?: number;
  /** Milliseconds from the first of its kind on. @default 60_000 */
  readonly window?: number;
  /** How many different lines are remembered. @default 256 */
  readonly capacity?: number;
  /** A clock in milliseconds. @default performance.now */
  readonly now?: () => number;
}

interface Entry<Line> {
  readonly line: Line;
  readonly since: number;
  written: number;
  omitted: number;
  last: number;
}

/**
 * Suppresses repeated lines and logs how often they came: an error in a loop must not bury the line that
 * gives its cause.
 */
export class Repeats<Line> implements Disposable {
  readonly #options: Required<RepeatsOptions<Line>>;
  /** In the order of their beginning. */
  readonly #entries = new Map<string, Entry<Line>>();
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(options: RepeatsOptions<Line>) {
    this.#options = {
      burst: 5,
      window: 60_000,
      capacity: 256,
      now: () => performance.now(),
      ...options,
    };
  }

  /**
   * Decides on a line.
   *
   * @param key the same for lines that count as one
   * @returns false when it is suppressed
   */
  admit(key: string, line: Line): boolean {
    const { burst, window, capacity, now } = this.#options;
    const at = now();
    const entry = this.#entries.get(key);
    if (entry !== undefined && at - entry.since < window) {
      if (entry.written < burst) {
        entry.written++;
        return true;
      }
      entry.omitted++;
      entry.last = at;
      this.#plan(at);
      return false;
    }
    if (entry !== undefined) this.#end(key, entry);
    else if (this.#entries.size >= capacity) {
      const [oldest] = this.#entries;
      this.#end(...oldest!);
    }
    this.#entries.set(key, { line, since: at, written: 1, omitted: 0, last: at });
    return true;
  }

  /** Reports all suppressed lines and forgets them. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const [key, entry] of this.#entries) this.#end(key, entry);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#entries.clear();
  }

  #end(key: string, { line, since, last, omitted }: Entry<Line>): void {
    this.#entries.delete(key);
    if (omitted > 0) this.#options.onOmitted(line, omitted, (last - since) / 1000);
  }

  /** Starts the timer that reports suppressed lines when the window of the oldest one ends. */
  #plan(at: number): void {
    if (this.#timer !== undefined) return;
    const first = this.#entries.values().find(({ omitted }) => omitted > 0);
    if (first === undefined) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      const now = this.#options.now();
      for (const [key, entry] of this.#entries) {
        if (now - entry.since >= this.#options.window) this.#end(key, entry);
      }
      this.#plan(now);
    }, Math.max(0, first.since + this.#options.window - at));
    // The timer must not keep the process alive.
    Deno.unrefTimer(this.#timer);
  }
}
