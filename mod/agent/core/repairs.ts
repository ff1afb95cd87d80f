import { warning } from "../../observe/mod.ts";
import { Backoff } from "./backoff.ts";
import { Timer } from "./timer.ts";

/** Even who keeps deleting sees things back within a second. */
const TIMES = { shortest: 20, longest: 800, calm: 10_000 };

/** The backstop: whatever the kernel's events did not tell is found by then, in milliseconds. */
const BACKSTOP = 300_000;

/** What the kernel refused is offered again after this, in milliseconds. */
const REFUSED = 10_000;

/** One line per object and minute, in milliseconds. */
const REPEAT = 60_000;

/**
 * Decides when the kernel state is looked over: soon after something of ours was touched, without
 * a storm when that goes on and on, and every five minutes in any case.
 */
export class Repairs implements Disposable {
  readonly #due: Timer;
  readonly #retry: Timer;
  readonly #backstop: Timer;
  readonly #said = new Map<string, number>();
  readonly #backoff = new Backoff(TIMES);

  readonly #onDamage: (what: string) => void;

  /**
   * @param onDue called when the kernel state is to be looked over
   * @param onDamage told of what was touched, each time
   */
  constructor(onDue: () => void, onDamage: (what: string) => void = () => {}) {
    this.#onDamage = onDamage;
    this.#due = new Timer(onDue);
    this.#retry = new Timer(onDue);
    this.#backstop = new Timer(onDue);
  }

  /**
   * Something of ours was touched.
   *
   * @param what for the log
   */
  request(what: string): void {
    this.#onDamage(what);
    const now = performance.now();
    if (now - (this.#said.get(what) ?? -Infinity) > REPEAT) {
      if (this.#said.size > 1000) this.#said.clear();
      this.#said.set(what, now);
      warning(`Repairing: ${what}`, { object: what });
    }
    if (!this.#due.isSet) this.#due.set(this.#backoff.delay);
  }

  /** The kernel refused something; it may not next time. */
  retry(): void {
    if (!this.#retry.isSet) this.#retry.set(REFUSED);
  }

  /**
   * Everything has just been looked over.
   *
   * @param refused how many objects the kernel did not take
   */
  done(refused: number): void {
    this.#backoff.answered();
    this.#due.clear();
    this.#retry.clear();
    this.#backstop.set(BACKSTOP);
    if (refused > 0) this.retry();
  }

  [Symbol.dispose](): void {
    this.#due.clear();
    this.#retry.clear();
    this.#backstop.clear();
  }
}
