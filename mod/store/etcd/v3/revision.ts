import { isCompacted } from "./errors.ts";

/** As the revision of a read: the newest there is. */
export const NEWEST = "0";

/** How often a listing is begun when etcd compacts its history meanwhile. */
const ATTEMPTS = 3;

/**
 * Reads in several calls what is of one revision, anew where etcd has compacted its history between two
 * of them.
 *
 * @param read begins at the newest revision each time
 */
export async function atOneRevision<T>(read: () => Promise<T>): Promise<T> {
  for (let attempt = 1;; attempt++) {
    try {
      return await read();
    } catch (error) {
      if (attempt === ATTEMPTS || !isCompacted(error)) throw error;
    }
  }
}
