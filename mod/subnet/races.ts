import { ConflictError } from "../store/mod.ts";

/**
 * Lost races before giving up, as in flannel. In each, somebody else wrote the same entry between this
 * agent's reading and writing.
 */
export const RACES = 10;

/**
 * Reads and writes, again while another writer is faster.
 *
 * @param attempt reads the store each time
 * @param Failure kind of the error when ten races in a row were lost; it has flannel's words
 */
export async function untilWon<T>(
  attempt: () => Promise<T>,
  Failure: new (message: string, options: ErrorOptions) => Error,
): Promise<T> {
  for (let race = 1;; race++) {
    try {
      return await attempt();
    } catch (cause) {
      if (!(cause instanceof ConflictError)) throw cause;
      if (race === RACES) throw new Failure("subnet: no more tries", { cause });
    }
  }
}
