import { StoreUnavailableError } from "../errors.ts";
import type { LinkTiming } from "../watch_link.ts";

/** Pauses of a watch that broke. The server's restart meets all its clients at once. */
export const BACKOFF: LinkTiming = { firstBackoff: 100, longestBackoff: 5_000 };

/** Milliseconds. A poll that ends sooner, without changes, was not held by the server. */
export const MIN_HELD_MS = 500;

/**
 * Error for two resyncs in a row: several servers share an address, and none knows the others' cursors. Each
 * poll would be answered at once, with everything.
 */
export function churning(): StoreUnavailableError {
  return new StoreUnavailableError(
    "the server of -remote restarts the watch on every poll; if several servers share this address, " +
      "list each of them in -remote",
  );
}
