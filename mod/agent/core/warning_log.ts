import { error } from "../../observe/mod.ts";

/** Milliseconds between two lines about one lasting state. */
const REPEAT = 60_000;

/** An active problem. */
export interface Warning {
  /** Its begin, by `Date.now()`. */
  readonly since: number;
  readonly message: string;
}

/**
 * Logs a lasting problem when it begins or changes, and then once a minute; flannel logs it every second.
 */
export class WarningLog {
  #state: string | undefined;
  #warning: Warning | undefined;
  #loggedAt = -Infinity;
  readonly #write: (message: string) => void;
  readonly #now: () => number;

  /**
   * @param write takes a message that is due. @default logs it as an error
   * @param now a clock in milliseconds. @default performance.now
   */
  constructor(
    write: (message: string) => void = (message) => error(message, { error: message }),
    now: () => number = () => performance.now(),
  ) {
    this.#write = write;
    this.#now = now;
  }

  /** True while there is a problem. */
  get isActive(): boolean {
    return this.#state !== undefined;
  }

  /** The active problem. */
  get current(): Warning | undefined {
    return this.#warning;
  }

  /** Reports a problem, in place of the one before. */
  report(message: string): void {
    // Errors of etcd v2 end in its index, which grows with every write of any client.
    const state = message.replaceAll(/ \[\d+\]/g, "");
    const now = this.#now();
    this.#warning = { since: this.#warning?.since ?? Date.now(), message };
    if (state === this.#state && now - this.#loggedAt < REPEAT) return;
    this.#state = state;
    this.#loggedAt = now;
    this.#write(message);
  }

  /** Ends the problem. Returns whether there was one. */
  clear(): boolean {
    const was = this.isActive;
    this.#state = undefined;
    this.#warning = undefined;
    this.#loggedAt = -Infinity;
    return was;
  }
}
