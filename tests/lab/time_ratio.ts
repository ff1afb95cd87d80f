import { threadTime } from "../../mod/sys/testing/fastest.ts";

/** Milliseconds that a call has to take before times are compared: far above the clock's grain. */
const LEAST_MS = 4;

/**
 * Characters at which a call that is still quicker than that counts as linear: a quadratic one has made four
 * thousand million steps.
 */
const MAX_LENGTH = 1 << 16;

/** Size of the longer input of a comparison, in sizes of the shorter. */
const FACTOR = 8;

/**
 * How much longer a linear call may take with the longer input: it takes 8, and up to 20 where the garbage
 * collector or a cache that is too small has a part in it; a quadratic one takes 64.
 */
const MOST_RATIO = 32;

/** Calls of which the quickest counts, because other load on the machine only makes them slower. */
const ROUNDS = 4;

/** How often two sizes are compared that are near {@linkcode MOST_RATIO}; at first by one call of the longer. */
const ATTEMPTS = 5;

/**
 * Fails when a function takes more than linear time. Times of two sizes are compared, never a time with a
 * fixed limit, so that the speed of the machine does not matter.
 *
 * @param what names the input in the failure
 * @param step is called with an input of about a number of characters
 * @param mostRatio how much longer it may take with eight times the input. @default 32
 */
export async function assertLinear(
  what: string,
  step: (length: number) => () => unknown,
  mostRatio = MOST_RATIO,
): Promise<void> {
  let length = 1 << 10;
  let base = await quickest(step(length), 1);
  while (base < LEAST_MS && length < MAX_LENGTH) {
    length *= 2;
    base = await quickest(step(length), 1);
  }
  if (base < LEAST_MS) return;
  // V8 compiles a pattern after its first call, and then it is ten times as fast.
  let small = await quickest(step(length), ROUNDS);
  while (small < LEAST_MS / 4 && length < MAX_LENGTH) {
    length *= 2;
    small = await quickest(step(length), ROUNDS);
  }
  let large = Infinity;
  // Beside other work a comparison may go wrong; the quickest calls of all rounds are those with the least of it.
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    large = Math.min(large, await quickest(step(length * FACTOR), attempt === 0 ? 1 : ROUNDS));
    if (large / small < mostRatio / 2) return;
    small = Math.min(small, await quickest(step(length), ROUNDS));
  }
  const ratio = large / small;
  if (ratio < mostRatio) return;
  throw new Error(
    `${what}: ${FACTOR} times ${length} characters take ${ratio.toFixed(1)} times as long`,
  );
}

async function quickest(step: () => unknown, rounds: number): Promise<number> {
  let least = Infinity;
  for (let round = 0; round < rounds; round++) {
    const started = threadTime();
    // A refusal of unreadable text must be quick as well.
    await Promise.resolve().then(step).catch(() => {});
    least = Math.min(least, threadTime() - started);
  }
  return least;
}
