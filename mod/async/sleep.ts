/**
 * Waits, or returns early when the signal aborts; the caller then checks the signal.
 *
 * Not `setTimeout` of node:timers/promises: Deno 2.4 ignores its `signal`, so a waiting agent would not
 * end on SIGTERM.
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
