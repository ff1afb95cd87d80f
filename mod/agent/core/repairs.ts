import { warning } from "../../observe/mod.ts";
import { Backoff } from "./backoff.ts";
import { Timer } from "./timer.ts";

/** Milliseconds. The longest delay keeps a repair within a second even when objects are deleted in a loop. */
const TIMES = { shortest: 20, longest: 800, calm: 10_000 };

/** Milliseconds between full checks, which find damage that no kernel event reported. */
const BACKSTOP = 300_000;

/** Milliseconds until objects that the kernel refused are tried again. */
const REFUSED = 10_000;

/** Milliseconds between two log lines for one object. */
const REPEAT = 60_000;

/**
 * Decides when the agent checks the kernel state: soon after an object of flanneld was changed, with
 * growing delays while the changes go on, and every five minutes in any case.
 */
export class Repairs implements Disposable {
  readonly #due: Timer;
  readonly #retry: Timer;
  readonly #backstop: Timer;
  readonly #loggedAt = new Map<string, number>();
  readonly #backoff = new Backoff(TIMES);

  readonly #onDamage: (what: string) => void;

  /**
   * @param onDue called when a check of the kernel state is due
   * @param onDamage called with each object that was changed
   */
  constructor(onDue: () => void, onDamage: (what: string) => void = () => {}) {
    this.#onDamage = onDamage;
    this.#due = new Timer(onDue);
    this.#retry = new Timer(onDue);
    this.#backstop = new Timer(onDue);
  }

  /**
   * Requests a check after an object of flanneld was changed.
   *
   * @param what the object and its change, for the log
   */
  request(what: string): void {
    this.#onDamage(what);
    const now = performance.now();
    if (now - (this.#loggedAt.get(what) ?? -Infinity) > REPEAT) {
      if (this.#loggedAt.size > 1000) this.#loggedAt.clear();
      this.#loggedAt.set(what, now);
      warning(`Repairing: ${what}`, { object: what });
    }
    if (!this.#due.isSet) this.#due.set(this.#backoff.delay);
  }

  /** Requests a check after the kernel refused an object, in ten seconds. */
  retry(): void {
    if (!this.#retry.isSet) this.#retry.set(REFUSED);
  }

  /**
   * Notes that a full check has just ended.
   *
   * @param refused number of objects that the kernel refused
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
