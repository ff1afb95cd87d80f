/**
 * Returns the reason of a failed `fetch` in a few words, without the URL: Deno 2.4 has the reason in the message, Deno
 * 2.9 in the cause.
 */
export function fetchReason(error: unknown): string {
  let message = String(error);
  for (let at = error; at instanceof Error; at = at.cause) {
    if (at.message !== "fetch failed") message = at.message;
  }
  return message.replace(/^error sending request for url \([^)]*\): /, "").slice(0, 300);
}
