/** Calls a function after a time, unless it is disposed of before. */
export class Countdown implements Disposable {
  readonly #over: () => void;
  #timer: ReturnType<typeof setTimeout>;

  /** @param ms milliseconds */
  constructor(ms: number, over: () => void) {
    this.#over = over;
    this.#timer = setTimeout(over, ms);
  }

  restart(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(this.#over, ms);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }
}
