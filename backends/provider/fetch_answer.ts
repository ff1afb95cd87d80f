import { readText } from "../../mod/async/read_text.ts";
import { isTimeout } from "../../mod/async/timeout.ts";
import { truncate } from "../../mod/text/mod.ts";
import { ProviderError } from "./errors.ts";

/** The longest answer that is read, in bytes; a page of 500 of Google's routes has some 500,000. */
const MAX_BYTES = 16 << 20;

/** A request to a provider's API. */
export interface ProviderRequest extends RequestInit {
  readonly signal: AbortSignal;
  /** Milliseconds that the whole answer may take. */
  readonly timeoutMs: number;
  /** Begins the message of a failure: `ec2:CreateRoute on route table rtb-0a1b2c`. */
  readonly what: string;
}

/**
 * Fetches an answer of a provider's API, whatever its status.
 *
 * @throws {ProviderError} when there is no answer in time, or one that is too long
 * @throws the signal's reason when it has aborted
 */
export async function fetchAnswer(
  url: URL | string,
  { timeoutMs, what, signal, ...init }: ProviderRequest,
): Promise<{ readonly response: Response; readonly text: string }> {
  try {
    const limit = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
    // A redirect would carry the signature or the token to somebody else.
    const response = await fetch(url, { ...init, redirect: "error", signal: limit });
    return { response, text: await readText(response, MAX_BYTES) };
  } catch (error) {
    signal.throwIfAborted();
    const reason = isTimeout(error) ? `no answer within ${timeoutMs / 1000} s` : reasonOf(error);
    throw new ProviderError("unavailable", `${what}: ${reason}`, { cause: error });
  }
}

/**
 * Returns the reason of a failed `fetch` in a few words, without the URL: Deno 2.4 has the reason in the message, Deno
 * 2.9 in the cause.
 */
function reasonOf(error: unknown): string {
  let message = String(error);
  for (let at = error; at instanceof Error; at = at.cause) {
    if (at.message !== "fetch failed") message = at.message;
  }
  return truncate(message.replace(/^error sending request for url \([^)]*\): /, ""), 300);
}
