/**
 * Runs all steps although some fail, so that a removal leaves as little as possible.
 *
 * @throws the first error, after the last step
 */
export function runAll(steps: readonly (() => void)[]): void {
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
