/** Milliseconds until an unchanged warning is logged again. */
const REPEAT_MS = 600_000;

/** Logs the warning of each of several subjects when it begins or changes, and every 10 minutes. */
export class WarningLimiter {
  readonly #write: (message: string) => void;
  readonly #now: () => number;
  readonly #logged = new Map<string, { readonly message: string; readonly time: number }>();

  /** @param now a clock in milliseconds. @default performance.now */
  constructor(write: (message: string) => void, now: () => number = () => performance.now()) {
    this.#write = write;
    this.#now = now;
  }

  /** Logs the warning of a subject, unless it was logged lately. */
  warn(key: string, message: string): void {
    const last = this.#logged.get(key);
    const now = this.#now();
    if (last !== undefined && last.message === message && now - last.time < REPEAT_MS) return;
    this.#logged.set(key, { message, time: now });
    this.#write(message);
  }

  /** Forgets all subjects but some. */
  retain(isKept: (key: string) => boolean): void {
    for (const key of this.#logged.keys()) if (!isKept(key)) this.#logged.delete(key);
  }
}
