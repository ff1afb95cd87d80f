import { libc } from "../ffi/libc.ts";

// The library stays loaded, which is no leak of the first test that needs it.
libc();

/** bits/time.h: processor time of the calling thread, in which other programs have no part. */
const CLOCK_THREAD_CPUTIME_ID = 3;

/** Runs something several times. @returns milliseconds of processor time that the fastest run took */
export function fastest(runs: number, body: () => void): number {
  return Math.min(...Array.from({ length: runs }, () => {
    const start = threadTime();
    body();
    return threadTime() - start;
  }));
}

/** Processor time of the calling thread so far, in milliseconds. */
export function threadTime(): number {
  const time = new BigInt64Array(2);
  libc().clock_gettime(CLOCK_THREAD_CPUTIME_ID, new Uint8Array(time.buffer));
  return Number(time[0]) * 1e3 + Number(time[1]) / 1e6;
}
