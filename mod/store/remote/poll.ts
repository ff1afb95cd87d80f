import { StoreUnavailableError } from "../errors.ts";
import type { LinkTiming } from "../watch_link.ts";

/** How soon a watch that broke is tried again. The server's restart meets all its clients at once. */
export const BACKOFF: LinkTiming = { firstBackoff: 100, longestBackoff: 5_000 };

/**
 * Milliseconds that a poll is waited for: less than proxies on the way allow for (50 to 60 s), so that
 * it is given up here and not there.
 */
export const LONGEST_POLL = 45_000;

/**
 * Two new beginnings in a row: the servers behind one address take turns, and none knows the others' cursors.
 * Each poll would be answered at once, with everything.
 */
export function churning(): StoreUnavailableError {
  return new StoreUnavailableError(
    "the server of -remote begins anew with each answer: is it several behind one address? Name each " +
      "in -remote",
  );
}

/** A poll that ends sooner than this, without anything, was not held: milliseconds. */
export const HELD = 500;
