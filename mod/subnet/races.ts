import { ConflictError } from "../store/mod.ts";

/**
 * Races that are lost before giving up, as flannel: each means that somebody else wrote the very entry
 * between our reading and our writing.
 */
export const RACES = 10;

/**
 * Reads and writes, anew while another is quicker.
 *
 * @param attempt reads the store anew each time
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
