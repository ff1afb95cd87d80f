import { readText } from "../../../async/read_text.ts";
import { Deadline } from "../../deadline.ts";
import { StoreError } from "../../errors.ts";
import type { HttpEndpoint } from "../endpoints.ts";
import { type EtcdHttp, unanswered } from "../http.ts";
import { isAuthDisabled, toStoreError } from "./errors.ts";
import { truncate } from "../../../text/mod.ts";

/** Paths of the gateway, newest first: etcd 3.4 and later, 3.3, 3.2 and earlier. */
const ROOTS = ["/v3", "/v3beta", "/v3alpha"] as const;
/** Milliseconds until a call must be answered; etcd gives a read up after 7 s itself. */
const TIMEOUT = 15_000;

/** Bytes of an answer; the most that is asked for is 50,000 keys. */
const MAX_BYTES = 2 ** 26;

/** A read: of one key, or of all from `key` up to `rangeEnd`. */
export interface GatewayRange {
  readonly key: string;
  readonly rangeEnd?: string;
  /** @default no limit */
  readonly limit?: number;
  /** Leave the values out. @default false */
  readonly keysOnly?: boolean;
}

/** An entry as the gateway gives it. */
export interface GatewayEntry {
  readonly key: string;
  readonly value: string;
}

/** The server has no gateway. */
export class GatewayAbsentError extends StoreError {
  override readonly name = "GatewayAbsentError";
}

/**
 * The gateway, or what is in its place, does not serve us. etcd's own does not serve anybody with a
 * client certificate once there are users.
 */
export class GatewayUnusableError extends StoreError {
  override readonly name = "GatewayUnusableError";
}

/**
 * Reads etcd v3 through its own JSON gateway: enough to look for a config without loading gRPC,
 * which costs more than the rest of the agent together.
 */
export class EtcdV3Gateway {
  readonly #http: EtcdHttp;

  constructor(http: EtcdHttp) {
    this.#http = http;
  }

  /**
   * Reads entries, linearizable.
   *
   * @throws {GatewayAbsentError}
   * @throws {GatewayUnusableError}
   * @throws {StoreUnavailableError} when no endpoint answers
   * @throws {StoreError} when etcd refuses
   */
  async range(range: GatewayRange, signal?: AbortSignal): Promise<GatewayEntry[]> {
    return await this.#http.atSomeEndpoint(signal, async (endpoint) => {
      using deadline = new Deadline(
        TIMEOUT,
        unanswered(TIMEOUT),
        signal,
        this.#http.closed,
        this.#http.dropped,
      );
      let absent: GatewayAbsentError | undefined;
      for (const root of ROOTS) {
        try {
          return await this.#rangeBelow(root, endpoint, range, deadline.signal);
        } catch (error) {
          if (!(error instanceof GatewayAbsentError)) throw error;
          absent ??= error;
        }
      }
      throw absent;
    });
  }

  async #rangeBelow(
    root: string,
    endpoint: HttpEndpoint,
    { key, rangeEnd, limit, keysOnly }: GatewayRange,
    signal: AbortSignal,
  ): Promise<GatewayEntry[]> {
    const token = await this.#authenticate(root, endpoint, signal);
    const { kvs = [] } = await this.#post<{ kvs?: { key: string; value?: string }[] }>(
      endpoint,
      `${root}/kv/range`,
      {
        key: toBase64(key),
        ...(rangeEnd === undefined ? {} : { range_end: toBase64(rangeEnd) }),
        ...(limit === undefined ? {} : { limit }),
        ...(keysOnly ? { keys_only: true } : {}),
      },
      token,
      signal,
    );
    return kvs.map(({ key, value = "" }) => ({ key: fromBase64(key), value: fromBase64(value) }));
  }

  /** The token of the user, if there is one and the server has any. */
  async #authenticate(
    root: string,
    endpoint: HttpEndpoint,
    signal: AbortSignal,
  ): Promise<string | undefined> {
    if (endpoint.user === undefined) return undefined;
    try {
      const answer = await this.#post<{ token: string }>(
        endpoint,
        `${root}/auth/authenticate`,
        endpoint.user,
        undefined,
        signal,
      );
      return answer.token;
    } catch (error) {
      if (error instanceof StoreError && isAuthDisabled(error.cause)) return undefined;
      throw error;
    }
  }

  async #post<T>(
    endpoint: HttpEndpoint,
    path: string,
    body: unknown,
    token: string | undefined,
    signal: AbortSignal,
  ): Promise<T> {
    const response = await this.#http.fetch(endpoint, {
      method: "POST",
      path,
      body: JSON.stringify(body),
      isSecret: body === endpoint.user,
      authorize: () => token,
    }, signal);
    const text = await readText(response, MAX_BYTES);
    let answer;
    try {
      answer = JSON.parse(text);
    } catch {
      answer = undefined;
    }
    const { url, user } = endpoint;
    if (typeof answer === "object" && answer !== null) {
      if (response.ok && answer.header !== undefined) return answer;
      // Up to 3.3 the text is called `error`.
      const details = answer.message ?? answer.error;
      if (typeof answer.code === "number" && typeof details === "string") {
        const error = Object.assign(new Error(details), { code: answer.code, details });
        throw toStoreError(error, { url, username: user?.name });
      }
    }
    const what = `${url}${path} answers with HTTP status ${response.status}`;
    if (response.status === 404) throw new GatewayAbsentError(what);
    throw new GatewayUnusableError(`${what}: ${truncate(text.trim(), 200)}`);
  }
}

/** The gateway takes bytes in base64. */
function toBase64(text: string): string {
  return btoa(String.fromCharCode(...new TextEncoder().encode(text)));
}

function fromBase64(text: string): string {
  return new TextDecoder().decode(Uint8Array.from(atob(text), (char) => char.charCodeAt(0)));
}
