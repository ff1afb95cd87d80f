/** Length of the periods that lines are counted in, in milliseconds. */
const PERIOD_MS = 1_000;

/** Milliseconds after which a lasting flood is summed up, and the count starts again. */
const REPORT_MS = 10_000;

/** Kinds of lines to remember: more than the program's places that log. */
const CAPACITY = 1_024;

/** Options of {@linkcode LineRate}. */
export interface LineRateOptions<Line> {
  /**
   * Receives the sum of suppressed lines.
   *
   * @param last the last of them
   * @param count how many
   * @param seconds from the first to the last
   */
  readonly onOmitted: (last: Line, count: number, seconds: number) => void;
  /** How many lines of a kind may come within a second. @default 100 */
  readonly rate?: number;
  /** A clock in milliseconds. @default performance.now */
  readonly now?: () => number;
}

interface Kind<Line> {
  /** Start of the current period. */
  since: number;
  /** Lines of this period. */
  count: number;
  /** The last period had too many lines: all are suppressed until a period has few enough. */
  isFlooded: boolean;
  omitted: { readonly since: number; count: number; last: Line; at: number } | undefined;
}

/**
 * Suppresses lines of one kind beyond a rate, and sums them up. Thousands of refused or changed leases then
 * take a few lines.
 */
export class LineRate<Line> {
  readonly #onOmitted: LineRateOptions<Line>["onOmitted"];
  readonly #rate: number;
  readonly #now: () => number;
  readonly #kinds = new Map<string, Kind<Line>>();
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor({ onOmitted, rate = 100, now = () => performance.now() }: LineRateOptions<Line>) {
    this.#onOmitted = onOmitted;
    this.#rate = rate;
    this.#now = now;
  }

  /**
   * Decides on a line.
   *
   * @param key kind of the line
   * @returns false when the line is to be suppressed
   */
  admit(key: string, line: Line): boolean {
    const at = this.#now();
    const kind = this.#kindOf(key, at);
    if (at - kind.since >= PERIOD_MS) {
      kind.isFlooded = kind.count > this.#rate && at - kind.since < 2 * PERIOD_MS;
      kind.since = at;
      kind.count = 0;
      if (!kind.isFlooded) this.#report(kind);
    }
    kind.count++;
    if (!kind.isFlooded && kind.count <= this.#rate) return true;
    kind.omitted ??= { since: at, count: 0, last: line, at };
    kind.omitted.count++;
    kind.omitted.last = line;
    kind.omitted.at = at;
    this.#plan();
    return false;
  }

  /** Sums up all suppressed lines. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const kind of this.#kinds.values()) this.#report(kind);
  }

  #kindOf(key: string, at: number): Kind<Line> {
    const known = this.#kinds.get(key);
    if (known !== undefined) return known;
    if (this.#kinds.size >= CAPACITY) {
      const [oldest] = this.#kinds;
      this.#report(oldest![1]);
      this.#kinds.delete(oldest![0]);
    }
    const kind = { since: at, count: 0, isFlooded: false, omitted: undefined };
    this.#kinds.set(key, kind);
    return kind;
  }

  #report(kind: Kind<Line>): void {
    if (kind.omitted === undefined) return;
    const { since, count, last, at } = kind.omitted;
    kind.omitted = undefined;
    this.#onOmitted(last, count, (at - since) / 1000);
  }

  /** Reports each flood that is over, or has lasted long enough. */
  #plan(): void {
    if (this.#timer !== undefined) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      const now = this.#now();
      let isWaiting = false;
      for (const kind of this.#kinds.values()) {
        if (kind.omitted === undefined) continue;
        const { since, at } = kind.omitted;
        if (now - at >= PERIOD_MS || now - since >= REPORT_MS) this.#report(kind);
        else isWaiting = true;
      }
      if (isWaiting) this.#plan();
    }, PERIOD_MS);
    // The timer must not keep the process alive.
    Deno.unrefTimer(this.#timer);
  }
}
