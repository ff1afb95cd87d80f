import { readText } from "../../../async/read_text.ts";
import { Deadline } from "../../deadline.ts";
import { StoreError } from "../../errors.ts";
import type { HttpEndpoint } from "../endpoints.ts";
import { errorText, type EtcdHttp, unanswered } from "../http.ts";
import { LeafFinder } from "./leaves.ts";

/** Error codes of etcd v2's keys API (etcd 2.3, Documentation/errorcode.md). */
export const ErrorCode = {
  keyNotFound: 100,
  compareFailed: 101,
  keyExists: 105,
  eventIndexCleared: 401,
} as const;

/** Milliseconds until a call must be answered; etcd gives a quorum request up after 7 s itself. */
const RESPONSE_TIMEOUT = 15_000;
/** Milliseconds for the answer to arrive after its headers: 20 MB at 350 kB/s. */
const BODY_TIMEOUT = 60_000;

/** Bytes of an answer but for a listing: etcd takes a value of 1.5 MB, which escapes make six times that. */
const MAX_BYTES = 2 ** 24;

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

/** True of etcd's refusal to read, or to remove, what is not there. */
export function isKeyNotFound(error: unknown): error is EtcdV2Error {
  return error instanceof EtcdV2Error && error.code === ErrorCode.keyNotFound;
}

/** The answer is not etcd v2's: an etcd without that API, or something else altogether. */
export class NotEtcdV2Error extends StoreError {
  override readonly name = "NotEtcdV2Error";

  /** @param status of the HTTP answer */
  constructor(readonly status: number, message: string) {
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
  readonly modifiedIndex: number;
  /** Seconds left. Omitted when zero, so its absence does not mean that there is no expiry. */
  readonly ttl?: number;
  /** Absent for an entry without expiry. */
  readonly expiration?: string;
}

/** An answer of the keys API: of a call, or an event of a watch. */
export interface Answer {
  readonly action: string;
  readonly node: Node;
  /** Of an event: the node before it. */
  readonly prevNode?: { readonly dir?: boolean };
}

/** etcd's position, from the headers of an answer. */
export interface Position {
  /** `X-Etcd-Index`: index of the last change etcd had seen; `undefined` if a proxy hides it. */
  readonly index: number | undefined;
  /** `X-Etcd-Cluster-ID`; empty if a proxy hides it. */
  readonly cluster: string;
}

/** etcd's v2 keys API at the members of a cluster. */
export class EtcdV2Client implements Disposable {
  readonly #http: EtcdHttp;

  /** @param http disposed of with the client */
  constructor(http: EtcdHttp) {
    this.#http = http;
  }

  /** Fires when the client is closed. */
  get closed(): AbortSignal {
    return this.#http.closed;
  }

  /** Fires when the connections that stand now are dropped. */
  get dropped(): AbortSignal {
    return this.#http.dropped;
  }

  /** Drops the connections that stand; what is under way over them fails. */
  reconnect(): void {
    this.#http.reconnect();
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
    return await this.#http.atSomeEndpoint(signal, async (endpoint) => {
      using deadline = this.#deadline(signal);
      const response = await this.#fetch(endpoint, request, deadline.signal);
      deadline.extend(BODY_TIMEOUT, unanswered(BODY_TIMEOUT));
      const text = await readText(response, MAX_BYTES);
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
    return await this.#http.atSomeEndpoint(signal, async (endpoint) => {
      using deadline = this.#deadline(signal);
      const response = await this.#fetch(endpoint, { method: "GET", key, query }, deadline.signal);
      deadline.extend(BODY_TIMEOUT, unanswered(BODY_TIMEOUT));
      if (!response.ok || response.body === null) {
        parseAnswer(response, await readText(response, MAX_BYTES), endpoint.url);
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
    return await this.#http.atSomeEndpoint(signal, async (endpoint) => {
      const response = await this.#fetch(endpoint, request, signal);
      return {
        position: positionOf(response),
        answer: async () => {
          const text = await readText(response, MAX_BYTES);
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
    await this.#http.atSomeEndpoint(signal, async () => {});
  }

  /** Forgets that the endpoint in use was ever heard from: the next request looks for it first. */
  recheckEndpoint(): void {
    this.#http.recheckEndpoint();
  }

  /** Ends every request with an error and closes the connections. */
  [Symbol.dispose](): void {
    this.#http[Symbol.dispose]();
  }

  #deadline(signal: AbortSignal | undefined): Deadline {
    const { closed, dropped } = this;
    return new Deadline(RESPONSE_TIMEOUT, unanswered(RESPONSE_TIMEOUT), signal, closed, dropped);
  }

  #fetch(endpoint: HttpEndpoint, request: Request, signal: AbortSignal): Promise<Response> {
    const { method, key, query, form } = request;
    return this.#http.fetch(endpoint, {
      method,
      path: keyPath(key),
      query,
      authorize: basicAuthorization,
      ...(form === undefined ? {} : {
        body: new URLSearchParams(
          Object.entries(form).map(([name, value]) => [name, String(value)]),
        ),
      }),
    }, signal);
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

/** RFC 7617, in UTF-8. */
function basicAuthorization({ user }: HttpEndpoint): string | undefined {
  if (user === undefined) return undefined;
  const bytes = new TextEncoder().encode(`${user.name}:${user.password}`);
  return `Basic ${btoa(String.fromCharCode(...bytes))}`;
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
    if (response.ok && isNode(value.node)) return value;
    if (!response.ok && typeof value.message === "string") {
      throw new EtcdV2Error(value.errorCode ?? 0, errorText(value), positionOf(response));
    }
  }
  throw notEtcd(response, endpoint);
}

function isNode(value: unknown): value is Node {
  const { key, modifiedIndex } = (value ?? {}) as Record<string, unknown>;
  return typeof key === "string" && typeof modifiedIndex === "number";
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

function notEtcd({ status }: Response, endpoint: string): NotEtcdV2Error {
  return new NotEtcdV2Error(
    status,
    "client: response is invalid json. The endpoint is probably not valid etcd cluster endpoint." +
      ` (HTTP status ${status} from ${endpoint}; etcd 3.4 and later serve the v2 API only with` +
      ` --enable-v2)`,
  );
}
