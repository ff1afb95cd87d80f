import { readText } from "../../async/read_text.ts";
import { Deadline } from "../deadline.ts";
import { StoreError, StoreUnavailableError } from "../errors.ts";
import { unanswered } from "../etcd/http.ts";
import { describeFetchError } from "../fetch_error.ts";
import type { RemoteStoreOptions } from "./options.ts";
import { ReloadedFiles } from "./reloaded_files.ts";
import { readRemoteToken } from "./token.ts";
import { readTlsFiles, type TlsFiles } from "../etcd/tls_files.ts";

/** Milliseconds until a server that was not heard from lately must have answered. */
const LOOK_TIMEOUT = 5_000;
/** Milliseconds that an answer may take. */
const CALL_TIMEOUT = 30_000;

/** Bytes of an answer; 60,000 leases, each with its node record, have some 40 MB. */
const MAX_BYTES = 2 ** 28;

/** Credentials of a client. */
export interface RemoteCredentials {
  readonly tls: TlsFiles;
  readonly token?: string;
}

/**
 * Reads the files, again after each change, that `-remote-cafile`, `-remote-certfile`, `-remote-keyfile` and `-remote-token-file` name.
 *
 * @throws {ConfigError} when one cannot be used
 */
export function readRemoteCredentials(
  options: Pick<RemoteStoreOptions, "caFile" | "certFile" | "keyFile" | "tokenFile">,
): Promise<ReloadedFiles<RemoteCredentials>> {
  const { caFile, certFile, keyFile, tokenFile } = options;
  return ReloadedFiles.open([caFile, certFile, keyFile, tokenFile], async () => {
    const tls = await readTlsFiles(options, "-remote");
    return tokenFile === undefined ? { tls } : { tls, token: await readRemoteToken(tokenFile) };
  });
}

/** One request to a server. */
export interface RemoteRequest {
  readonly method: "GET" | "PUT" | "DELETE";
  /** Below the server, with a leading slash, escaped. */
  readonly path: string;
  readonly body?: string;
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds until the answer. @default 30000 */
  readonly timeout?: number;
}

/** An answer, whatever its status. */
export interface RemoteAnswer {
  /** Which of {@linkcode RemoteHttp.servers} it is from. */
  readonly server: string;
  readonly status: number;
  readonly text: string;
}

/**
 * HTTP to the servers of `-remote`: one is kept until it cannot be reached, then the next is tried.
 */
export class RemoteHttp implements Disposable {
  /** `https://host:port` each. */
  readonly servers: readonly string[];
  readonly #caFile: string | undefined;
  readonly #files: ReloadedFiles<RemoteCredentials>;
  #credentials: RemoteCredentials;
  readonly #closing = new AbortController();
  #dropping = new AbortController();
  #http: Deno.HttpClient;
  #pinned = 0;
  #heard = false;
  readonly #answered = new Set<string>();
  /** Path that is asked for to see whether a server is there. */
  readonly #lookPath: string;

  constructor(
    options: RemoteStoreOptions,
    files: ReloadedFiles<RemoteCredentials>,
    lookPath: string,
  ) {
    this.#files = files;
    this.#credentials = files.value;
    const { tls } = this.#credentials;
    const isTls = tls.ca !== undefined || tls.client !== undefined;
    this.servers = options.servers.map((server) => `http${isTls ? "s" : ""}://${server}`);
    this.#caFile = options.caFile;
    this.#lookPath = lookPath;
    this.#http = createClient(tls);
  }

  /** Fires when the client is closed. */
  get closed(): AbortSignal {
    return this.#closing.signal;
  }

  /** Drops the connections that stand; requests that come next make new ones. */
  reconnect(): void {
    if (this.closed.aborted) return;
    this.#http.close();
    this.#http = createClient(this.#credentials.tls);
    this.#heard = false;
    this.#dropping.abort(new Error("the connection was given up"));
    this.#dropping = new AbortController();
  }

  /** Looks for the server before the next request, which might wait long for one that is gone. */
  recheckEndpoint(): void {
    this.#heard = false;
  }

  /**
   * Makes a request, at one server after the other until one answers.
   *
   * @throws {StoreUnavailableError} when none does
   */
  async request(request: RemoteRequest): Promise<RemoteAnswer> {
    const failures: string[] = [];
    const { signal } = request;
    const first = this.#pinned;
    for (let i = 0; i < this.servers.length; i++) {
      signal?.throwIfAborted();
      this.closed.throwIfAborted();
      const at = (first + i) % this.servers.length;
      const server = this.servers[at]!;
      try {
        if (!this.#heard || at !== this.#pinned) await this.#look(server, signal);
        const answer = await this.#fetch(server, request);
        this.#pinned = at;
        this.#heard = true;
        this.#answered.add(server);
        return answer;
      } catch (error) {
        if (signal?.aborted) throw signal.reason;
        this.closed.throwIfAborted();
        this.#heard = false;
        failures.push(`${server}: ${this.#describe(error, server)}`);
      }
    }
    throw new StoreUnavailableError(
      "the server of -remote cannot be reached" +
        failures.toSorted().map((failure, i) => `; error #${i}: ${failure}`).join(""),
    );
  }

  /** Ends every request with an error and closes the connections. */
  [Symbol.dispose](): void {
    if (this.closed.aborted) return;
    this.#closing.abort(new StoreError("the store is closed"));
    this.#http.close();
  }

  /** Takes credentials over whose files have changed. Requests under way keep theirs. */
  async #useFiles(): Promise<void> {
    const credentials = await this.#files.current();
    if (credentials === this.#credentials || this.closed.aborted) return;
    this.#credentials = credentials;
    this.#http.close();
    this.#http = createClient(credentials.tls);
  }

  #describe(error: unknown, url: string): string {
    const hasAnswered = this.#answered.has(url);
    return describeFetchError(error, { url, hasAnswered, caFile: this.#caFile, flags: "-remote" });
  }

  async #look(server: string, signal: AbortSignal | undefined): Promise<void> {
    await this.#fetch(server, {
      method: "GET",
      path: this.#lookPath,
      timeout: LOOK_TIMEOUT,
      signal,
    });
  }

  async #fetch(server: string, request: RemoteRequest): Promise<RemoteAnswer> {
    const { method, path, body, signal, timeout = CALL_TIMEOUT } = request;
    using deadline = new Deadline(
      timeout,
      unanswered(timeout),
      signal,
      this.closed,
      this.#dropping.signal,
    );
    await this.#useFiles();
    const { token } = this.#credentials;
    const response = await fetch(server + path, {
      client: this.#http,
      method,
      redirect: "manual",
      signal: deadline.signal,
      headers: {
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...(body === undefined ? {} : { "content-type": "application/json" }),
      },
      ...(body === undefined ? {} : { body }),
    });
    return { server, status: response.status, text: await readText(response, MAX_BYTES) };
  }
}

function createClient({ ca, client }: TlsFiles): Deno.HttpClient {
  return Deno.createHttpClient({
    // A request that is given up is to take its connection along.
    http2: false,
    poolMaxIdlePerHost: 2,
    // Shorter than the server's, so that no request meets a connection that is being closed.
    poolIdleTimeout: 5_000,
    ...(ca === undefined ? {} : { caCerts: [ca] }),
    ...(client ?? {}),
  });
}
