/** Options of {@linkcode FakeTime}. */
export interface FakeTimeOptions {
  /**
   * Fakes only the timers of code whose stack matches; other timers and the clock are real.
   *
   * @default fakes all timers and the clock
   */
  readonly by?: RegExp;
}

interface Planned {
  readonly at: number;
  readonly fire: () => void;
}

/** Takes the place of `setTimeout` and `performance.now` in tests, until it is disposed of. */
export class FakeTime implements Disposable {
  readonly #real = { setTimeout, clearTimeout, now: performance.now };
  /** By the identifier that `setTimeout` gave, which is negative: real ones are positive. */
  readonly #timers = new Map<number, Planned>();
  #now = 1_000;
  #last = 0;

  constructor({ by }: FakeTimeOptions = {}) {
    const { setTimeout: plan, clearTimeout: cancel } = this.#real;
    const fakePlan = (call: (...args: unknown[]) => void, delay = 0, ...args: unknown[]) => {
      const fire = () => call(...args);
      if (by !== undefined && !by.test(new Error().stack!)) return plan(fire, delay);
      this.#timers.set(--this.#last, { at: this.#now + delay, fire });
      return this.#last;
    };
    const fakeCancel = (id?: number) => {
      if (!this.#timers.delete(id!)) cancel(id);
    };
    globalThis.setTimeout = fakePlan as typeof setTimeout;
    globalThis.clearTimeout = fakeCancel as typeof clearTimeout;
    if (by === undefined) performance.now = () => this.#now;
  }

  /** Milliseconds until each set timer, in ascending order. */
  get planned(): number[] {
    return Array.from(this.#timers.values(), ({ at }) => at - this.#now).sort((a, b) => a - b);
  }

  /** Advances the clock; due timers fire in order. */
  tick(milliseconds: number): void {
    const until = this.#now + milliseconds;
    for (;;) {
      let next: [number, Planned] | undefined;
      for (const entry of this.#timers) {
        if (entry[1].at <= until && (next === undefined || entry[1].at < next[1].at)) next = entry;
      }
      if (next === undefined) break;
      const [id, { at, fire }] = next;
      this.#timers.delete(id);
      this.#now = at;
      fire();
    }
    this.#now = until;
  }

  [Symbol.dispose](): void {
    globalThis.setTimeout = this.#real.setTimeout;
    globalThis.clearTimeout = this.#real.clearTimeout;
    performance.now = this.#real.now;
  }
}
