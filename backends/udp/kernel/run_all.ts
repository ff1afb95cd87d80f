/**
 * Runs all steps, whichever fail: what is taken away is to leave as little as can be.
 *
 * @throws the first step's error that failed, when all are done
 */
export function everyStep(steps: readonly (() => void)[]): void {
  const errors: unknown[] = [];
  for (const step of steps) {
    try {
      step();
    } catch (error) {
      errors.push(error);
    }
  }
  if (errors.length > 0) throw errors[0];
}
