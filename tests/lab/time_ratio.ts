import { cpuUsage } from "node:process";

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
  // Most inputs are far from the limit, which one call shows as well as the quickest of several.
  if (await quickest(step(length * FACTOR), 1) < base * mostRatio / 2) return;
  const ratios: number[] = [];
  // Beside other work a first comparison may go wrong; a quadratic function fails each.
  for (let attempt = 0; attempt < 4; attempt++) {
    const small = await quickest(step(length), ROUNDS);
    const ratio = await quickest(step(length * FACTOR), ROUNDS) / small;
    if (ratio < mostRatio) return;
    ratios.push(ratio);
  }
  throw new Error(
    `${what}: ${FACTOR} times ${length} characters take ${
      ratios.map((one) => one.toFixed(1))
    } times as long`,
  );
}

async function quickest(step: () => unknown, rounds: number): Promise<number> {
  let least = Infinity;
  for (let round = 0; round < rounds; round++) {
    const started = cpuMs();
    // A refusal of unreadable text must be quick as well.
    await Promise.resolve().then(step).catch(() => {});
    least = Math.min(least, cpuMs() - started);
  }
  return least;
}

/** CPU time of this process in milliseconds, without the load of other processes. */
function cpuMs(): number {
  const { user, system } = cpuUsage();
  return (user + system) / 1000;
}
