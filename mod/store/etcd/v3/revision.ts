import { isCompacted } from "./errors.ts";

/** Revision of a read: the newest. */
export const NEWEST = "0";

/** Attempts at a listing when etcd compacts its history meanwhile. */
const ATTEMPTS = 3;

/**
 * Reads one revision in several calls; starts again when etcd has compacted its history between two of
 * them.
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
