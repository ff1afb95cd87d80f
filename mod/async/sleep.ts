/**
 * Waits, or returns early when the signal aborts: whoever is to stop then asks the signal.
 *
 * Not `setTimeout` of node:timers/promises: Deno 2.4 accepts its `signal` but ignores it, so
 * that an agent that waits would not hear SIGTERM.
 */
export async function sleep(milliseconds: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise<void>((resolve) => {
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, milliseconds);
    signal.addEventListener("abort", end);
  });
}
