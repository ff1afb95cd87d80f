/** True for the reason of `AbortSignal.timeout()`, with which calls reject that had no answer in time. */
export function isTimeout(error: unknown): boolean {
  return error instanceof DOMException && error.name === "TimeoutError";
}
