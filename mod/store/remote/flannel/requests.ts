/**
 * Requests of flannel 0.7.1's protocol, and its errors.
 *
 * @module
 */
import { StoreError, StoreUnavailableError } from "../../errors.ts";
import type { RemoteAnswer, RemoteHttp, RemoteRequest } from "../http.ts";
import { MIN_HELD_MS } from "../poll.ts";
import { truncate } from "../../../text/mod.ts";

/**
 * Longest poll of the client, in milliseconds, since flannel's server holds polls for ever: less than the
 * limits of proxies (50 to 60 s), so that the client ends the poll first.
 */
const MAX_POLL_MS = 45_000;

/** The server's store has no such entry. */
export class NotFoundError extends StoreError {
  override readonly name = "NotFoundError";
}

/**
 * Makes one request.
 *
 * @throws {NotFoundError} when the server's store has no such entry
 * @throws {StoreUnavailableError} when the server or its store cannot be reached
 * @throws {StoreError} when the server refuses, or is no flannel
 */
export async function askFlannel(
  http: RemoteHttp,
  request: RemoteRequest,
): Promise<RemoteAnswer> {
  const answer = await http.request(request);
  const { server, status, text } = answer;
  if (status === 200) return answer;
  const words = truncate(text.trim(), 500);
  if (status === 500 && /^100: |not found/i.test(words)) throw new NotFoundError(words);
  // flannel's server has this path, and its own answers for what is not in the store.
  if (status === 404) {
    const place = server.replace(/^https?:\/\//, "");
    throw new StoreError(
      `there is no flanneld -listen at ${place}: it answers ${status}: ${words}`,
    );
  }
  const isUnavailable = status === 502 || status === 503 || status === 504 ||
    /cluster is unavailable|cannot be reached|shutting down/.test(words);
  const kind = isUnavailable ? StoreUnavailableError : StoreError;
  throw new kind(`the server of -remote answers ${status}: ${words}`);
}

/**
 * Makes one long poll.
 *
 * @returns `undefined` when nothing has happened while it stood
 * @throws as {@linkcode askFlannel} does
 */
export async function pollFlannel(
  http: RemoteHttp,
  path: string,
  cursor: string,
  signal: AbortSignal,
): Promise<RemoteAnswer | undefined> {
  const started = performance.now();
  try {
    return await askFlannel(http, {
      method: "GET",
      path: `${path}?next=${encodeURIComponent(cursor)}`,
      signal,
      timeout: MAX_POLL_MS,
    });
  } catch (error) {
    const isOver = performance.now() - started >= MAX_POLL_MS - MIN_HELD_MS;
    if (isOver && error instanceof StoreUnavailableError) return undefined;
    throw error;
  }
}
