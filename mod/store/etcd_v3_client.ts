import { Buffer } from "node:buffer";
import { Metadata } from "@grpc/grpc-js";
import type { IWatchCreateRequest, IWatchResponse } from "etcd3";
import { type StoreError, StoreUnavailableError } from "./errors.ts";
import { isAuthDisabled, isOfEtcd, isStaleToken, toStoreError } from "./etcd_v3_errors.ts";
import { type Calls, Endpoint, type WatchStream } from "./etcd_v3_endpoint.ts";
import type { EtcdOptions } from "./options.ts";
import type { TlsFiles } from "./tls_files.ts";

/** Options of {@linkcode EtcdV3Client}. */
export interface EtcdV3ClientOptions {
  /**
   * Milliseconds between two probes of the connection under a watch. Each has a third of that to be
   * answered.
   *
   * @default 15_000
   */
  readonly heartbeat?: number;
  /**
   * Milliseconds a call may take at each endpoint. etcd itself gives a write up after 7 s.
   *
   * @default 10_000
   */
  readonly timeout?: number;
}

/** What the store asks of a cluster. */
export interface EtcdV3Caller extends Disposable {
  /**
   * Makes one call, at each endpoint in turn until one answers.
   *
   * A call may thus reach etcd twice: a transaction must be one that can tell its own earlier
   * success from a conflict.
   *
   * @throws {StoreUnavailableError} when none answers
   * @throws {StoreError} when one answers, but refuses
   */
  call<M extends keyof Calls>(
    method: M,
    request: Calls[M][0],
    signal?: AbortSignal,
  ): Promise<Calls[M][1]>;

  /**
   * Opens one watch on one endpoint and yields what it says, until it fails: a watch does not
   * outlive its connection here. The next one uses the next endpoint.
   *
   * A connection that was cut silently fails within 4/3 of the heartbeat's time.
   *
   * @param signal ends the iteration without an error
   * @throws {StoreError} when it fails; lost history is no failure, but the last response
   */
  watch(request: IWatchCreateRequest, signal: AbortSignal): AsyncGenerator<IWatchResponse>;
}

/**
 * Calls and watches on a cluster: takes the next endpoint when one fails, and keeps the token of
 * the user.
 */
export class EtcdV3Client implements EtcdV3Caller {
  readonly #endpoints: readonly Endpoint[];
  readonly #prefix: string;
  readonly #caFile: string | undefined;
  readonly #user: { readonly name: string; readonly password: string } | undefined;
  readonly #heartbeat: number;
  readonly #timeout: number;
  /** Index of the endpoint that served last. */
  #pinned = 0;
  /** `undefined` until asked for; empty when the server has no users. */
  #token: string | undefined;

  constructor(options: EtcdOptions, tls: TlsFiles, clientOptions: EtcdV3ClientOptions = {}) {
    this.#prefix = options.prefix;
    this.#caFile = options.caFile;
    const { username, password = "" } = options;
    this.#user = username ? { name: username, password } : undefined;
    this.#heartbeat = clientOptions.heartbeat ?? 15_000;
    this.#timeout = clientOptions.timeout ?? 10_000;
    // Shuffled, so that a thousand agents do not all use the first.
    this.#endpoints = shuffled(options.endpoints).map((url) => new Endpoint(url, tls));
  }

  async call<M extends keyof Calls>(
    method: M,
    request: Calls[M][0],
    signal?: AbortSignal,
  ): Promise<Calls[M][1]> {
    const failures: StoreError[] = [];
    const first = this.#pinned;
    for (let i = 0; i < this.#endpoints.length; i++) {
      const index = (first + i) % this.#endpoints.length;
      const endpoint = this.#endpoints[index]!;
      try {
        const answer = await this.#callAt(endpoint, method, request, this.#timeout, signal);
        this.#pinned = index;
        return answer;
      } catch (error) {
        signal?.throwIfAborted();
        const failure = this.#failed(endpoint, error);
        if (!(failure instanceof StoreUnavailableError)) throw failure;
        failures.push(failure);
      }
    }
    throw unavailable(failures);
  }

  async *watch(request: IWatchCreateRequest, signal: AbortSignal): AsyncGenerator<IWatchResponse> {
    const index = this.#pinned;
    const endpoint = this.#endpoints[index]!;
    let stream: WatchStream | undefined;
    let timer: ReturnType<typeof setInterval> | undefined;
    const cancel = () => stream?.cancel();
    try {
      const token = await this.#authenticated(endpoint, this.#timeout, signal);
      stream = await endpoint.watch(metadata(token), signal);
      signal.throwIfAborted();
      signal.addEventListener("abort", cancel);
      timer = setInterval(() => this.#probe(endpoint, stream!), this.#heartbeat);
      stream.write({ create_request: request });
      for await (const response of stream as AsyncIterable<IWatchResponse>) {
        if (response.canceled && response.compact_revision === "0") {
          // Versions before 3.5 say "permission denied" of a token that has run out, too.
          this.#token = undefined;
          throw new Error(response.cancel_reason || "the watch was canceled");
        }
        yield response;
      }
      throw new StoreUnavailableError(`${endpoint.url}: the watch was ended by the server`);
    } catch (error) {
      if (signal.aborted) return;
      if (this.#pinned === index) this.#pinned = (index + 1) % this.#endpoints.length;
      throw this.#failed(endpoint, error);
    } finally {
      clearInterval(timer);
      signal.removeEventListener("abort", cancel);
      stream?.cancel();
    }
  }

  /** Ends every call and lets the process exit. */
  [Symbol.dispose](): void {
    for (const endpoint of this.#endpoints) endpoint[Symbol.dispose]();
  }

  async #callAt<M extends keyof Calls>(
    endpoint: Endpoint,
    method: M,
    request: Calls[M][0],
    timeout: number,
    signal?: AbortSignal,
  ): Promise<Calls[M][1]> {
    for (let attempt = 1;; attempt++) {
      const token = await this.#authenticated(endpoint, timeout, signal);
      try {
        return await endpoint.call(method, request, { metadata: metadata(token), timeout, signal });
      } catch (error) {
        if (attempt > 1 || this.#user === undefined || !isStaleToken(error)) throw error;
        if (this.#token === token) this.#token = undefined;
      }
    }
  }

  /** The user's token. etcd's simple tokens are good until unused for five minutes. */
  async #authenticated(endpoint: Endpoint, timeout: number, signal?: AbortSignal): Promise<string> {
    if (this.#user === undefined) return "";
    if (this.#token !== undefined) return this.#token;
    try {
      const options = { metadata: metadata(""), timeout, signal };
      const answer = await endpoint.call("authenticate", this.#user, options);
      return this.#token = answer.token;
    } catch (error) {
      if (!isAuthDisabled(error)) throw error;
      return this.#token = "";
    }
  }

  /** Ends a watch whose connection does not answer. */
  async #probe(endpoint: Endpoint, stream: WatchStream): Promise<void> {
    try {
      const key = Buffer.from(`${this.#prefix}/config`);
      // Not linearizable, thus answered by the member alone: it costs the cluster nothing.
      const request = { key, count_only: true, serializable: true };
      await this.#callAt(endpoint, "range", request, this.#heartbeat / 3);
    } catch (error) {
      const failure = this.#toStoreError(endpoint, error);
      if (failure instanceof StoreUnavailableError) stream.destroy(failure);
    }
  }

  #toStoreError(endpoint: Endpoint, error: unknown): StoreError {
    const { url } = endpoint;
    return toStoreError(error, { url, username: this.#user?.name, caFile: this.#caFile });
  }

  #failed(endpoint: Endpoint, error: unknown): StoreError {
    const failure = this.#toStoreError(endpoint, error);
    if (failure instanceof StoreUnavailableError && !isOfEtcd(error)) endpoint.reset(failure);
    return failure;
  }
}

/**
 * What goes with each call: the token, and that a member without a leader shall refuse at once
 * rather than let the call wait. The names are etcd's, from its rpctypes package.
 */
function metadata(token: string): Metadata {
  const metadata = new Metadata();
  metadata.set("hasleader", "true");
  if (token !== "") metadata.set("token", token);
  return metadata;
}

/** In the words of etcd's v2 client, which runbooks know. */
function unavailable(failures: readonly StoreError[]): StoreUnavailableError {
  return new StoreUnavailableError(
    "client: etcd cluster is unavailable or misconfigured" +
      failures.map(({ message }, i) => `; error #${i}: ${message}`).join(""),
    { cause: failures },
  );
}

function shuffled<T>(items: readonly T[]): T[] {
  const out = [...items];
  for (let i = out.length - 1; i > 0; i--) {
    const j = Math.floor(Math.random() * (i + 1));
    [out[i], out[j]] = [out[j]!, out[i]!];
  }
  return out;
}
