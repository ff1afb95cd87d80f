/** How often what lasts is said again, in milliseconds. */
const REPEAT = 600_000;

/** Says what is wrong with each of several things once, when it begins or changes, and every 10 minutes. */
export class SaidOnce {
  readonly #write: (message: string) => void;
  readonly #now: () => number;
  readonly #said = new Map<string, { readonly message: string; readonly time: number }>();

  /** @param now a clock in milliseconds. @default performance.now */
  constructor(write: (message: string) => void, now: () => number = () => performance.now()) {
    this.#write = write;
    this.#now = now;
  }

  /** Something is wrong with `key`. */
  say(key: string, message: string): void {
    const said = this.#said.get(key);
    const now = this.#now();
    if (said !== undefined && said.message === message && now - said.time < REPEAT) return;
    this.#said.set(key, { message, time: now });
    this.#write(message);
  }

  /** Forgets all but some. */
  retain(isKept: (key: string) => boolean): void {
    for (const key of this.#said.keys()) if (!isKept(key)) this.#said.delete(key);
  }
}
