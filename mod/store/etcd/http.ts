import { readText } from "../../async/read_text.ts";
import { Deadline } from "../deadline.ts";
import { StoreError, StoreUnavailableError } from "../errors.ts";
import { describeFetchError } from "../fetch_error.ts";
import { type HttpEndpoint, parseEndpoint } from "./endpoints.ts";
import type { EtcdOptions } from "./options.ts";
import type { TlsFiles } from "./tls_files.ts";
import { shuffled } from "./shuffled.ts";

/** Milliseconds until an endpoint that was not heard from lately must have answered anything. */
const CONNECT_TIMEOUT = 3_000;
/** Bytes of a failure that are read for its message. */
const MAX_ERROR_BYTES = 65_536;
/** Redirections that are followed at most. */
const MAX_REDIRECTS = 10;

/** One request. */
export interface HttpRequest {
  readonly method: "GET" | "PUT" | "POST" | "DELETE";
  /** Below the endpoint's URL, with a leading slash, escaped. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string | number | boolean>>;
  readonly body?: BodyInit;
  /** The body is for configured endpoints alone. @default false */
  readonly isSecret?: boolean;
  /** Gives the `Authorization` header for one of the configured endpoints. */
  readonly authorize?: (endpoint: HttpEndpoint) => string | undefined;
}

/** An endpoint's failure, after which the next one is tried. */
export class EndpointFailure extends Error {
  override readonly name = "EndpointFailure";
}

/**
 * HTTP to the members of an etcd cluster.
 *
 * The endpoints are shuffled once, then one is kept until it fails (no connection, no answer, or a
 * status of 500 and above), as flannel's client does.
 */
export class EtcdHttp implements Disposable {
  readonly #endpoints: readonly HttpEndpoint[];
  readonly #clientOptions: Deno.CreateHttpClientOptions;
  #http: Deno.HttpClient;
  readonly #caFile: string | undefined;
  readonly #closing = new AbortController();
  #dropping = new AbortController();
  #pinned = 0;

  /** @throws {ConfigError} when an endpoint is not an http or https URL */
  constructor(options: Omit<EtcdOptions, "api" | "prefix">, tls: TlsFiles) {
    this.#endpoints = shuffled(options.endpoints.map((url) => parseEndpoint(url, options)));
    this.#caFile = options.caFile;
    this.#clientOptions = {
      // HTTP/2 would put every request on one connection. When that one dies silently, new
      // requests keep dying on it; with HTTP/1.1 a request that is given up takes its connection
      // along.
      http2: false,
      poolMaxIdlePerHost: 2,
      // A connection that was opened and then not needed keeps etcd 3 from ending: it waits for
      // the first byte of each without limit.
      poolIdleTimeout: 5_000,
      ...(tls.ca === undefined ? {} : { caCerts: [tls.ca] }),
      ...(tls.client ?? {}),
    };
    this.#http = Deno.createHttpClient(this.#clientOptions);
  }

  /** Fires when the client is closed. */
  get closed(): AbortSignal {
    return this.#closing.signal;
  }

  /** Fires when the open connections are dropped: requests over them give up. */
  get dropped(): AbortSignal {
    return this.#dropping.signal;
  }

  /** Drops the connections that stand; requests that come next make new ones. */
  reconnect(): void {
    if (this.closed.aborted) return;
    this.#http.close();
    this.#http = Deno.createHttpClient(this.#clientOptions);
    this.#dropping.abort(new Error("the connection was given up"));
    this.#dropping = new AbortController();
  }

  /**
   * Calls `use` with the endpoint that served last and, while it fails, with each of the others.
   *
   * @throws {StoreError} of `use`, at once: that is an answer, no failure
   * @throws {StoreUnavailableError} when it failed at every endpoint
   */
  async atSomeEndpoint<T>(
    signal: AbortSignal | undefined,
    use: (endpoint: HttpEndpoint) => Promise<T>,
  ): Promise<T> {
    const failures: string[] = [];
    const count = this.#endpoints.length;
    const first = this.#pinned;
    for (let i = 0; i < count; i++) {
      signal?.throwIfAborted();
      this.closed.throwIfAborted();
      const at = (first + i) % count;
      const endpoint = this.#endpoints[at]!;
      try {
        if (!endpoint.heard) await this.#lookFor(endpoint, signal);
        const result = await use(endpoint);
        this.#pinned = at;
        return result;
      } catch (error) {
        if (error instanceof StoreError) {
          this.#pinned = at;
          throw error;
        }
        if (signal?.aborted) throw signal.reason;
        this.closed.throwIfAborted();
        endpoint.heard = false;
        failures.push(
          error instanceof EndpointFailure
            ? error.message
            : `${endpoint.url}: ${this.#describe(error, endpoint)}`,
        );
      }
    }
    throw new StoreUnavailableError(
      "client: etcd cluster is unavailable or misconfigured" +
        // In a stable order, whichever endpoint came first: the log suppresses repeated messages by it.
        failures.toSorted().map((failure, i) => `; error #${i}: ${failure}`).join(""),
    );
  }

  /**
   * Makes a request at an endpoint, and where that redirects to. Resolves with the headers.
   *
   * @throws {EndpointFailure} for a status of 500 and above, and a redirection that would reveal a secret
   * @throws what `fetch` throws
   */
  async fetch(
    endpoint: HttpEndpoint,
    request: HttpRequest,
    signal: AbortSignal,
  ): Promise<Response> {
    let url = new URL(endpoint.url + request.path);
    for (const [name, value] of Object.entries(request.query ?? {})) {
      url.searchParams.set(name, String(value));
    }
    for (let redirects = 0;; redirects++) {
      // Credentials go to configured endpoints only, wherever a redirection leads.
      const known = this.#endpoints.find((endpoint) => new URL(endpoint.url).origin === url.origin);
      const authorization = known && request.authorize?.(known);
      if (known === undefined && request.isSecret) {
        throw new EndpointFailure(
          `client: ${endpoint.url} redirects the password to ${url.origin}, which is none of ` +
            "-etcd-endpoints",
        );
      }
      const response = await fetch(url, {
        client: this.#http,
        method: request.method,
        redirect: "manual",
        signal,
        ...(authorization === undefined ? {} : { headers: { authorization } }),
        ...(request.body === undefined ? {} : { body: request.body }),
      });
      endpoint.heard = endpoint.hasAnswered = true;
      const location = response.headers.get("location");
      if (response.status >= 300 && response.status < 400 && location !== null) {
        await response.body?.cancel();
        if (redirects === MAX_REDIRECTS) {
          throw new EndpointFailure(`client: too many redirects from ${endpoint.url}`);
        }
        url = new URL(location, url);
        continue;
      }
      if (response.status >= 500) throw await serverFailure(endpoint.url, response);
      return response;
    }
  }

  /** Forgets that the endpoint in use was ever heard from: the next request looks for it first. */
  recheckEndpoint(): void {
    this.#endpoints[this.#pinned]!.heard = false;
  }

  /** Ends every request with an error and closes the connections. */
  [Symbol.dispose](): void {
    if (this.closed.aborted) return;
    this.#closing.abort(new StoreError("the store is closed"));
    this.#http.close();
  }

  #describe(error: unknown, { url, hasAnswered }: HttpEndpoint): string {
    return describeFetchError(error, { url, hasAnswered, caFile: this.#caFile });
  }

  /**
   * Finds out whether an endpoint is there by asking its version. `fetch` has no limit for
   * connecting of its own, and a large snapshot may rightly take longer than a host that is down
   * deserves.
   */
  async #lookFor(endpoint: HttpEndpoint, signal: AbortSignal | undefined): Promise<void> {
    using deadline = new Deadline(
      CONNECT_TIMEOUT,
      unanswered(CONNECT_TIMEOUT),
      signal,
      this.closed,
      this.dropped,
    );
    const response = await fetch(`${endpoint.url}/version`, {
      client: this.#http,
      redirect: "manual",
      signal: deadline.signal,
    });
    if (response.status >= 500) throw await serverFailure(endpoint.url, response);
    await response.body?.cancel();
    endpoint.heard = endpoint.hasAnswered = true;
  }
}

/** The reason of a {@linkcode Deadline} that has passed. */
export function unanswered(ms: number): () => Error {
  return () => new Error(`no answer within ${ms / 1000} s`);
}

/**
 * The text of an error as etcd's own tools show it. The keys API gives code, cause and index; etcd's
 * other handlers send only `{"message":"..."}`.
 */
export function errorText(
  body: { errorCode?: number; message: string; cause?: string; index?: number },
): string {
  const { errorCode, message, cause = "", index = 0 } = body;
  return errorCode === undefined ? message : `${errorCode}: ${message} (${cause}) [${index}]`;
}

async function serverFailure(endpoint: string, response: Response): Promise<EndpointFailure> {
  const { status } = response;
  let detail = `${status} ${response.statusText}`.trim();
  try {
    const body = JSON.parse(await readText(response, MAX_ERROR_BYTES));
    if (typeof body.message === "string") detail = errorText(body);
  } catch {
    // A proxy's page.
  }
  return new EndpointFailure(
    status === 500 || status === 503
      ? `client: etcd member ${endpoint} has no leader (${detail})`
      : `client: etcd member ${endpoint} returns server error [${detail}]`,
  );
}
