import { type Finding, inputOf, literal, type Outcome } from "./driver.ts";
import { targetNamed } from "./targets.ts";
import type { Answer, Job } from "./worker.ts";

/** Options of {@linkcode FuzzSession}. */
export interface FuzzSessionOptions {
  /** How long a target may go without beginning another input, in milliseconds. @default 120000 */
  readonly hangMs?: number;
  /** The worker's module. @default worker.ts */
  readonly module?: URL;
}

/** Runs targets one after the other in a worker, and ends one that hangs. */
export class FuzzSession implements Disposable {
  readonly #hangMs: number;
  readonly #module: URL;
  #worker: Worker | undefined;

  constructor(
    { hangMs = 120_000, module = new URL("worker.ts", import.meta.url) }: FuzzSessionOptions = {},
  ) {
    this.#hangMs = hangMs;
    this.#module = module;
  }

  /** Runs a target for some time. @throws {Error} when it cannot be started */
  async run(name: string, seed: number, milliseconds: number): Promise<Outcome> {
    const worker = this.#worker ??= new Worker(this.#module, { type: "module" });
    const progress = new SharedArrayBuffer(4);
    const counter = new Int32Array(progress);
    const answered = new Promise<Answer>((resolve) => {
      worker.onmessage = ({ data }) => resolve(data);
      worker.onerror = (event) => {
        event.preventDefault();
        resolve({ error: event.message });
      };
    });
    worker.postMessage({ target: name, seed, milliseconds, progress } satisfies Job);
    const answer = await Promise.race([answered, stalled(counter, answered, this.#hangMs)]);
    if (answer === "stalled") {
      this[Symbol.dispose]();
      return { executions: counter[0]!, finding: await this.#hang(name, seed, counter[0]!) };
    }
    if ("outcome" in answer) return answer.outcome;
    this[Symbol.dispose]();
    throw new Error(`target ${name}: ${answer.error}`);
  }

  async #hang(target: string, seed: number, number: number): Promise<Finding> {
    return {
      ...{ target, seed },
      literal: literal(await inputOf(targetNamed(target), seed, number)),
      message: `input ${number} does not come back within ${this.#hangMs / 1000} s`,
    };
  }

  [Symbol.dispose](): void {
    this.#worker?.terminate();
    this.#worker = undefined;
  }
}

/** Resolves when no further input is begun for too long, or with the answer. */
async function stalled(
  counter: Int32Array,
  answered: Promise<Answer>,
  hangMs: number,
): Promise<"stalled" | Answer> {
  for (let seen = -1;;) {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const pause = new Promise<undefined>((resolve) => {
      timer = setTimeout(() => resolve(undefined), hangMs);
    });
    const answer = await Promise.race([answered, pause]);
    clearTimeout(timer);
    if (answer !== undefined) return answer;
    const count = Atomics.load(counter, 0);
    if (count === seen) return "stalled";
    seen = count;
  }
}
