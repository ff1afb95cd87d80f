import { ConfigError } from "../config/errors.ts";
import { Deadline } from "./deadline.ts";
import { StoreError, StoreUnavailableError } from "./errors.ts";
import { describeFetchError } from "./fetch_error.ts";
import { LeafFinder } from "./etcd_v2_leaves.ts";
import type { EtcdOptions } from "./options.ts";
import type { TlsFiles } from "./tls_files.ts";

/** Error codes of etcd v2's keys API (etcd 2.3, Documentation/errorcode.md). */
export const ErrorCode = {
  keyNotFound: 100,
  compareFailed: 101,
  keyExists: 105,
  eventIndexCleared: 401,
} as const;

/** Milliseconds until an endpoint that was not heard from lately must have answered anything. */
const CONNECT_TIMEOUT = 3_000;
/** Milliseconds until a call must be answered; etcd gives a quorum request up after 7 s itself. */
const RESPONSE_TIMEOUT = 15_000;
/** Milliseconds for the answer to arrive after its headers: 20 MB at 350 kB/s. */
const BODY_TIMEOUT = 60_000;
/** How many redirections are followed. */
const MAX_REDIRECTS = 10;

/** etcd's own refusal. The message reads `100: Key not found (/flannel) [3]`. */
export class EtcdV2Error extends StoreError {
  override readonly name = "EtcdV2Error";

  /**
   * @param code see {@linkcode ErrorCode}; 0 where etcd gave none
   * @param position etcd's position at that moment
   */
  constructor(readonly code: number, message: string, readonly position: Position) {
    super(message);
  }
}

/** One request of the keys API. */
export interface Request {
  readonly method: "GET" | "PUT" | "DELETE";
  /** Key, with a leading slash; empty for the root. */
  readonly key: string;
  readonly query: Readonly<Record<string, string | number | boolean>>;
  /** Sent as a form. */
  readonly form?: Readonly<Record<string, string | number>>;
}

/** A node of the keys API. */
export interface Node {
  readonly key: string;
  readonly dir?: boolean;
  readonly value?: string;
  readonly nodes?: readonly Node[];
  readonly modifiedIndex: number;
  /** Seconds left. Omitted when zero, so its absence does not say that there is no expiry. */
  readonly ttl?: number;
  /** Absent for an entry without expiry. */
  readonly expiration?: string;
}

/** An answer of the keys API: of a call, or an event of a watch. */
export interface Answer {
  readonly action: string;
  readonly node: Node;
}

/** etcd's position as every answer's headers tell it. */
export interface Position {
  /** `X-Etcd-Index`: index of the last change etcd had seen; `undefined` if a proxy hides it. */
  readonly index: number | undefined;
  /** `X-Etcd-Cluster-ID`; empty if a proxy hides it. */
  readonly cluster: string;
}

/** An endpoint as configured. */
interface Endpoint {
  readonly url: string;
  readonly authorization: string | undefined;
  /** Something was received since the last failure. */
  heard: boolean;
}

/** An endpoint's failure, after which the next one is tried. */
class EndpointFailure extends Error {
  override readonly name = "EndpointFailure";
}

/**
 * HTTP to the members of an etcd v2 cluster.
 *
 * The endpoints are shuffled once, then one is kept until it fails (no connection, no answer, or a
 * status of 500 and above), as flannel's client does.
 */
export class EtcdV2Client implements Disposable {
  readonly #endpoints: readonly Endpoint[];
  readonly #http: Deno.HttpClient;
  readonly #caFile: string | undefined;
  readonly #closing = new AbortController();
  #pinned = 0;

  /** @throws {ConfigError} when an endpoint is not an http or https URL */
  constructor(options: EtcdOptions, tls: TlsFiles) {
    this.#endpoints = shuffled(options.endpoints.map((url) => parseEndpoint(url, options)));
    this.#caFile = options.caFile;
    this.#http = Deno.createHttpClient({
      // HTTP/2 would put every request on one connection. When that one dies silently, new
      // requests keep dying on it; with HTTP/1.1 a request that is given up takes its connection
      // along.
      http2: false,
      poolMaxIdlePerHost: 2,
      ...(tls.ca === undefined ? {} : { caCerts: [tls.ca] }),
      ...(tls.client ?? {}),
    });
  }

  /** Fires when the client is closed. */
  get closed(): AbortSignal {
    return this.#closing.signal;
  }

  /**
   * Makes one call and reads its answer.
   *
   * A call whose connection broke is repeated at the next endpoint although the first may have
   * carried it out: a conditional write can then lose against itself.
   *
   * @throws {EtcdV2Error} when etcd refuses
   * @throws {StoreError} when the answer is not etcd's
   * @throws {StoreUnavailableError} when no endpoint answers
   */
  async call(request: Request, signal?: AbortSignal): Promise<[Answer, Position]> {
    return await this.#atSomeEndpoint(signal, async (endpoint) => {
      using deadline = new Deadline(
        RESPONSE_TIMEOUT,
        unanswered(RESPONSE_TIMEOUT),
        signal,
        this.closed,
      );
      const response = await this.#fetch(endpoint, request, deadline.signal);
      endpoint.heard = true;
      deadline.extend(BODY_TIMEOUT, unanswered(BODY_TIMEOUT));
      const text = await response.text();
      return [parseAnswer(response, text, endpoint.url), positionOf(response)];
    });
  }

  /**
   * Reads a directory with all that is in it, one leaf at a time: a value, an empty directory, or
   * the key itself when it is neither full nor missing. See {@linkcode LeafFinder} for the reason.
   *
   * @param begin gives what takes the leaves; called again when the answer breaks off and another
   * endpoint is asked
   * @throws {StoreError} as {@linkcode EtcdV2Client.call} does
   */
  async list(
    key: string,
    begin: () => (leaf: Node) => void,
    signal?: AbortSignal,
  ): Promise<Position> {
    const query = { quorum: true, recursive: true, sorted: false };
    return await this.#atSomeEndpoint(signal, async (endpoint) => {
      using deadline = new Deadline(
        RESPONSE_TIMEOUT,
        unanswered(RESPONSE_TIMEOUT),
        signal,
        this.closed,
      );
      const response = await this.#fetch(endpoint, { method: "GET", key, query }, deadline.signal);
      endpoint.heard = true;
      deadline.extend(BODY_TIMEOUT, unanswered(BODY_TIMEOUT));
      if (!response.ok || response.body === null) {
        parseAnswer(response, await response.text(), endpoint.url);
      }
      await readLeaves(response, begin(), endpoint.url);
      return positionOf(response);
    });
  }

  /**
   * Opens a long poll: resolves with its headers, which etcd sends at once, and leaves the body,
   * which arrives with the event, to the caller.
   *
   * @param signal bounds headers and body; a poll has no other bound
   * @throws {StoreError} as {@linkcode EtcdV2Client.call} does
   */
  async openPoll(request: Request, signal: AbortSignal): Promise<Poll> {
    return await this.#atSomeEndpoint(signal, async (endpoint) => {
      const response = await this.#fetch(endpoint, request, signal);
      endpoint.heard = true;
      return {
        position: positionOf(response),
        answer: async () => {
          const text = await response.text();
          return text.trim() === "" ? undefined : parseAnswer(response, text, endpoint.url);
        },
      };
    });
  }

  /**
   * Makes sure that an endpoint is there; at once when the one in use was heard from.
   *
   * @throws {StoreUnavailableError} when there is none
   */
  async reach(signal: AbortSignal): Promise<void> {
    await this.#atSomeEndpoint(signal, async () => {});
  }

  /** Forgets that the endpoint in use was ever heard from: the next request looks for it first. */
  doubt(): void {
    this.#endpoints[this.#pinned]!.heard = false;
  }

  /** Ends every request with an error and closes the connections. */
  [Symbol.dispose](): void {
    if (this.closed.aborted) return;
    this.#closing.abort(new StoreError("the store is closed"));
    this.#http.close();
  }

  async #atSomeEndpoint<T>(
    signal: AbortSignal | undefined,
    use: (endpoint: Endpoint) => Promise<T>,
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
            : `${endpoint.url}: ${describeFetchError(error, this.#caFile)}`,
        );
      }
    }
    throw new StoreUnavailableError(
      "client: etcd cluster is unavailable or misconfigured" +
        failures.map((failure, i) => `; error #${i}: ${failure}`).join(""),
    );
  }

  /**
   * Finds out whether an endpoint is there by asking its version. `fetch` has no limit for
   * connecting of its own, and a large snapshot may rightly take longer than a host that is down
   * deserves.
   */
  async #lookFor(endpoint: Endpoint, signal: AbortSignal | undefined): Promise<void> {
    using deadline = new Deadline(
      CONNECT_TIMEOUT,
      unanswered(CONNECT_TIMEOUT),
      signal,
      this.closed,
    );
    const response = await fetch(`${endpoint.url}/version`, {
      client: this.#http,
      redirect: "manual",
      signal: deadline.signal,
    });
    if (response.status >= 500) throw await serverFailure(endpoint.url, response);
    await response.body?.cancel();
    endpoint.heard = true;
  }

  async #fetch(endpoint: Endpoint, request: Request, signal: AbortSignal): Promise<Response> {
    let url = new URL(endpoint.url + keyPath(request.key));
    for (const [name, value] of Object.entries(request.query)) {
      url.searchParams.set(name, String(value));
    }
    for (let redirects = 0;; redirects++) {
      const authorization = this.#authorizationFor(url);
      const response = await fetch(url, {
        client: this.#http,
        method: request.method,
        redirect: "manual",
        signal,
        ...(authorization === undefined ? {} : { headers: { authorization } }),
        ...(request.form === undefined ? {} : {
          body: new URLSearchParams(
            Object.entries(request.form).map(([name, value]) => [name, String(value)]),
          ),
        }),
      });
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

  /** Credentials go to configured endpoints only, wherever a redirection leads. */
  #authorizationFor(url: URL): string | undefined {
    return this.#endpoints.find((endpoint) => new URL(endpoint.url).origin === url.origin)
      ?.authorization;
  }
}

/** A long poll that etcd has accepted. */
export interface Poll {
  readonly position: Position;
  /**
   * Waits for the event; `undefined` when the poll ended without one.
   *
   * @throws {EtcdV2Error} when etcd refuses
   */
  answer(): Promise<Answer | undefined>;
}

/** Endpoints for display: without the credentials a URL may carry. */
export function displayEndpoints(endpoints: readonly string[]): string {
  return endpoints.map((endpoint) => parseEndpoint(endpoint, {}).url).join(",");
}

function parseEndpoint(
  text: string,
  options: Pick<EtcdOptions, "username" | "password">,
): Endpoint {
  const url = URL.parse(text);
  if (url === null || (url.protocol !== "http:" && url.protocol !== "https:")) {
    // The text may hold a password.
    throw new ConfigError(
      "-etcd-endpoints holds a text that is not http://HOST:PORT or https://...",
    );
  }
  const [username, password] = options.username
    ? [options.username, options.password ?? ""]
    : [decoded(url.username), decoded(url.password)];
  return {
    url: url.origin + url.pathname.replace(/\/+$/, ""),
    authorization: username === "" ? undefined : basicAuthorization(username, password),
    heard: false,
  };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** RFC 7617, in UTF-8. */
function basicAuthorization(username: string, password: string): string {
  const bytes = new TextEncoder().encode(`${username}:${password}`);
  return `Basic ${btoa(String.fromCharCode(...bytes))}`;
}

/** Fisher and Yates. */
function shuffled<T>(items: T[]): T[] {
  for (let i = items.length - 1; i > 0; i--) {
    const j = Math.floor(Math.random() * (i + 1));
    [items[i], items[j]] = [items[j]!, items[i]!];
  }
  return items;
}

function keyPath(key: string): string {
  return "/v2/keys" + key.split("/").map(encodeURIComponent).join("/");
}

function positionOf(response: Response): Position {
  const index = Number(response.headers.get("x-etcd-index") ?? NaN);
  return {
    index: Number.isSafeInteger(index) ? index : undefined,
    cluster: response.headers.get("x-etcd-cluster-id") ?? "",
  };
}

function parseAnswer(response: Response, text: string, endpoint: string): Answer {
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    value = undefined;
  }
  if (typeof value === "object" && value !== null) {
    if (response.ok && typeof value.node === "object") return value;
    if (!response.ok && typeof value.message === "string") {
      throw new EtcdV2Error(value.errorCode ?? 0, errorText(value), positionOf(response));
    }
  }
  throw notEtcd(response, endpoint);
}

async function readLeaves(
  response: Response,
  take: (leaf: Node) => void,
  endpoint: string,
): Promise<void> {
  const finder = new LeafFinder((text) => {
    let leaf;
    try {
      leaf = JSON.parse(text);
    } catch {
      throw notEtcd(response, endpoint);
    }
    if (typeof leaf.key !== "string") throw notEtcd(response, endpoint);
    found = true;
    take(leaf);
  });
  let found = false;
  const decoder = new TextDecoder();
  for await (const chunk of response.body!) finder.push(decoder.decode(chunk, { stream: true }));
  if (!found || !finder.complete) throw notEtcd(response, endpoint);
}

function notEtcd({ status }: Response, endpoint: string): StoreError {
  return new StoreError(
    "client: response is invalid json. The endpoint is probably not valid etcd cluster endpoint." +
      ` (HTTP status ${status} from ${endpoint}; etcd 3.4 and later serve the v2 API only with` +
      ` --enable-v2)`,
  );
}

/**
 * The text of a keys API error as etcd's own tools show it; etcd's other handlers send only
 * `{"message":"..."}`.
 */
function errorText(
  body: { errorCode?: number; message: string; cause?: string; index?: number },
): string {
  const { errorCode, message, cause = "", index = 0 } = body;
  return errorCode === undefined ? message : `${errorCode}: ${message} (${cause}) [${index}]`;
}

async function serverFailure(endpoint: string, response: Response): Promise<EndpointFailure> {
  const { status } = response;
  let detail = `${status} ${response.statusText}`.trim();
  try {
    detail = errorText(JSON.parse(await response.text()));
  } catch {
    // A proxy's page.
  }
  return new EndpointFailure(
    status === 500 || status === 503
      ? `client: etcd member ${endpoint} has no leader (${detail})`
      : `client: etcd member ${endpoint} returns server error [${detail}]`,
  );
}

function unanswered(ms: number): () => Error {
  return () => new Error(`no answer within ${ms / 1000} s`);
}
