import { error } from "../../observe/mod.ts";

/** How often a state that lasts is repeated, in milliseconds. */
const REPEAT = 60_000;

/** Something that is wrong, and since when, as Date.now() tells it. */
export interface Warning {
  readonly since: number;
  readonly message: string;
}

/**
 * Says what is wrong once, when it begins or changes, and then every minute, instead of every
 * second as flannel does.
 */
export class WarningLog {
  #state: string | undefined;
  #warning: Warning | undefined;
  #said = -Infinity;
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

  /** True while something is wrong. */
  get isActive(): boolean {
    return this.#state !== undefined;
  }

  /** What is wrong. */
  get current(): Warning | undefined {
    return this.#warning;
  }

  /** Something is wrong. */
  report(message: string): void {
    // etcd v2's errors end in its index, which grows with every write of anybody.
    const state = message.replaceAll(/ \[\d+\]/g, "");
    const now = this.#now();
    this.#warning = { since: this.#warning?.since ?? Date.now(), message };
    if (state === this.#state && now - this.#said < REPEAT) return;
    this.#state = state;
    this.#said = now;
    this.#write(message);
  }

  /** It is right again. Returns true when it was not. */
  clear(): boolean {
    const was = this.isActive;
    this.#state = undefined;
    this.#warning = undefined;
    this.#said = -Infinity;
    return was;
  }
}
