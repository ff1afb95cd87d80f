import { sleep } from "../../async/sleep.ts";
import { StoreError, StoreFileError } from "../../store/mod.ts";
import { AmbiguousConfigError } from "../../store/open.ts";

/** Milliseconds until the agent asks a store again that did not answer, as in flannel. */
const RETRY_MS = 1_000;

/**
 * Repeats a step on the store until it succeeds.
 *
 * @param onFailure called with the reason of each failed attempt
 * @throws the reason of `signal` when it aborts
 * @throws {AmbiguousConfigError | StoreFileError} which a retry does not fix
 */
export async function insist<T>(
  signal: AbortSignal,
  step: () => Promise<T>,
  onFailure: (reason: string) => void,
): Promise<T> {
  for (;;) {
    try {
      return await step();
    } catch (error) {
      signal.throwIfAborted();
      const isLasting = error instanceof AmbiguousConfigError || error instanceof StoreFileError;
      if (!(error instanceof StoreError) || isLasting) throw error;
      onFailure(error.message);
      await sleep(RETRY_MS, signal);
      signal.throwIfAborted();
    }
  }
}
