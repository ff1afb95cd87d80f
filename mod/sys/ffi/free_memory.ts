import { libc } from "./libc.ts";

/** Milliseconds between two checks. malloc_trim() takes 0.1 to 1.6 ms, a collection some 30 ms for 20 MB of objects. */
const INTERVAL_MS = 10_000;

/** Growth of the resident set, in bytes, that a collection is worth. */
const GROWTH = 32 * 1024 * 1024;

/** From a collection to the return of what it freed, in milliseconds. */
const SETTLING = 200;

/** V8's collector; the executable is compiled with --expose-gc. Absent from source. */
declare const gc: (() => void) | undefined;

/**
 * Returns memory to the kernel at intervals: the freed memory that malloc(3) keeps (malloc_trim(3), glibc). Runs V8's
 * garbage collection first when the process has grown.
 *
 * The process would otherwise keep the memory of its start, of a large listing and of a compiled data path: 4 MB after
 * the first traffic through user space, up to 7 MB after 60,000 leases. V8 counts only a small part of the native
 * memory of its objects: the pipes of each program that ran keep 128 KiB until V8 collects them. A hundred config
 * changes took 380 MB that way.
 *
 * Does not keep the process alive.
 *
 * @param interval in milliseconds
 * @param growth in bytes
 * @returns ends it
 */
export function trimMemory(interval: number = INTERVAL_MS, growth: number = GROWTH): Disposable {
  const rss = () => Deno.memoryUsage().rss;
  let least = rss();
  let trimming: ReturnType<typeof setTimeout> | undefined;
  const trim = () => {
    // 0: no byte is kept at the top of the heap.
    libc().malloc_trim(0n);
    least = Math.min(least, rss());
  };
  const timer = setInterval(() => {
    if (typeof gc !== "function" || rss() <= least + growth) return trim();
    gc();
    // Tasks of their own free the native memory of objects, after the collection.
    trimming = setTimeout(() => {
      least = Infinity;
      trim();
    }, SETTLING);
    Deno.unrefTimer(trimming);
  }, interval);
  Deno.unrefTimer(timer);
  return {
    [Symbol.dispose]: () => {
      clearInterval(timer);
      clearTimeout(trimming);
    },
  };
}
