/** Runs targets in a worker, so that one that does not come back can be ended. */
import { fuzz, type Outcome } from "./driver.ts";
import type { Run } from "./target.ts";
import { targetNamed } from "./targets.ts";

/** A request to the worker. */
export interface Job {
  readonly target: string;
  readonly seed: number;
  readonly milliseconds: number;
  /** One number: inputs begun in this job. */
  readonly progress: SharedArrayBuffer;
}

/** The worker's answer. */
export type Answer = { readonly outcome: Outcome } | { readonly error: string };

const scope = globalThis as unknown as {
  onmessage: (event: MessageEvent<Job>) => void;
  postMessage(answer: Answer): void;
};

scope.onmessage = async ({ data }) => {
  let answer: Answer;
  try {
    answer = { outcome: await work(data) };
  } catch (error) {
    answer = { error: (error as Error).stack ?? String(error) };
  }
  // After everything is closed: the next job may come at once.
  scope.postMessage(answer);
};

async function work({ target: name, seed, milliseconds, progress }: Job): Promise<Outcome> {
  const counter = new Int32Array(progress);
  const target = targetNamed(name);
  await using stack = new AsyncDisposableStack();
  const run: Run<unknown> = await target.start(stack);
  // A rejection that nobody awaits is a finding, too.
  let stray: { readonly error: unknown } | undefined;
  const onStray = (event: PromiseRejectionEvent) => {
    event.preventDefault();
    // Listeners of the program come after this one, and handle some by preventing the default.
    let isHandled = false;
    Object.defineProperty(event, "preventDefault", { value: () => isHandled = true });
    queueMicrotask(() => {
      if (!isHandled) stray ??= { error: event.reason };
    });
  };
  globalThis.addEventListener("unhandledrejection", onStray);
  stack.defer(() => globalThis.removeEventListener("unhandledrejection", onStray));
  return await fuzz(target, async (input) => {
    await run(input);
    if (stray === undefined) return;
    const { error } = stray;
    stray = undefined;
    throw error;
  }, { seed, milliseconds, onRun: () => void Atomics.add(counter, 0, 1) });
}
