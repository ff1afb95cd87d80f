/**
 * Counters and histograms. They cost a few machine instructions and no more memory than their values,
 * whether or not anybody reads them; exposition.ts turns them into text.
 *
 * @module
 */

/** Counts by name. */
export class Tally {
  readonly #counts = new Map<string, number>();

  /** Counts something. */
  add(name: string, count = 1): void {
    this.#counts.set(name, this.of(name) + count);
  }

  /** How often `name` was counted. */
  of(name: string): number {
    return this.#counts.get(name) ?? 0;
  }

  /** Over all names. */
  get total(): number {
    return this.#counts.values().reduce((sum, count) => sum + count, 0);
  }

  /** Names and counts, in the order in which each was first counted. */
  entries(): IterableIterator<[string, number]> {
    return this.#counts.entries();
  }
}

/** Durations and sizes, counted by how large they were. */
export class Histogram {
  /** Upper bounds of the buckets, inclusive and rising; above them is one more, without a bound. */
  readonly bounds: readonly number[];
  readonly #counts: number[];
  #sum = 0;

  /** @throws {RangeError} when the bounds do not rise, or are not finite */
  constructor(bounds: readonly number[]) {
    if (
      bounds.some((bound, i) => !Number.isFinite(bound) || bound <= (bounds[i - 1] ?? -Infinity))
    ) {
      throw new RangeError(`bounds of a histogram must be finite and rise: ${bounds}`);
    }
    this.bounds = bounds;
    this.#counts = new Array(bounds.length + 1).fill(0);
  }

  /** Takes a value in. */
  observe(value: number): void {
    let bucket = 0;
    while (bucket < this.bounds.length && value > this.bounds[bucket]!) bucket++;
    this.#counts[bucket]!++;
    this.#sum += value;
  }

  /** Of all values. */
  get sum(): number {
    return this.#sum;
  }

  /** How many values. */
  get count(): number {
    return this.#counts.reduce((sum, count) => sum + count);
  }

  /** How many values are at most as large as each bound; the last, without a bound, is all of them. */
  cumulative(): number[] {
    let sum = 0;
    return this.#counts.map((count) => sum += count);
  }
}
