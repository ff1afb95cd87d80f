import { libc } from "./libc.ts";

/** Milliseconds between two calls. One takes 0.1 to 1.6 ms. */
const INTERVAL = 10_000;

/**
 * Gives the kernel back, now and then, what malloc(3) keeps of freed memory (malloc_trim(3), glibc).
 * What a start, a large listing or the compilation of a busy data path takes once would stay in the
 * process for good: 4 MB after the first traffic through user space, up to 7 MB after 60,000 leases.
 * Does not keep the process alive.
 *
 * @param interval in milliseconds
 * @returns ends it
 */
export function trimMemory(interval: number = INTERVAL): Disposable {
  // 0: no byte is kept at the top of the heap.
  const timer = setInterval(() => libc().malloc_trim(0n), interval);
  Deno.unrefTimer(timer);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}
