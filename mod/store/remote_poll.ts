import type { LinkTiming } from "./watch_link.ts";

/** How soon a watch that broke is tried again. The server's restart meets all its clients at once. */
export const BACKOFF: LinkTiming = { firstBackoff: 100, longestBackoff: 5_000 };

/**
 * Milliseconds that a poll is waited for: less than proxies on the way allow for (50 to 60 s), so that
 * it is given up here and not there.
 */
export const LONGEST_POLL = 45_000;

/** A poll that ends sooner than this, without anything, was not held: milliseconds. */
export const HELD = 500;
