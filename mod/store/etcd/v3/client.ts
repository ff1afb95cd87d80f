import { Buffer } from "node:buffer";
import { Metadata } from "@grpc/grpc-js";
import type { IWatchCreateRequest, IWatchResponse } from "etcd3";
import { type StoreError, StoreUnavailableError } from "../../errors.ts";
import { requireCompleteAnswer, requireCompleteEvents } from "./answers.ts";
import { parseEndpoint } from "../endpoints.ts";
import { isAuthDisabled, isOfEtcd, isStaleToken, toStoreError } from "./errors.ts";
import { type Calls, Endpoint, type WatchStream } from "./endpoint.ts";
import type { EtcdOptions } from "../options.ts";
import type { TlsFiles } from "../tls_files.ts";
import { shuffled } from "../shuffled.ts";

/** Options of {@linkcode EtcdV3Client}. */
export interface EtcdV3ClientOptions {
  /**
   * Milliseconds between two probes of a watch. One that is not answered until the next is due ends
   * it.
   *
   * @default 10_000
   */
  readonly heartbeat?: number;
  /**
   * Milliseconds a call may take at each endpoint. etcd itself gives a write up after 7 s.
   *
   * @default 10_000
   */
  readonly timeout?: number;
}

/** Calls and watches on a cluster. */
export interface EtcdV3Caller extends AsyncDisposable {
  /**
   * Makes one call, at each endpoint in turn until one answers.
   *
   * A call may thus reach etcd twice: a transaction must be able to distinguish its own earlier
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
   * Opens one watch on one endpoint and yields its responses, until it fails: a watch does not
   * outlive its connection here. The next one uses the next endpoint.
   *
   * One that was cut in silence fails within twice the heartbeat's time.
   *
   * @param signal ends the iteration without an error
   * @throws {StoreError} when it fails; lost history is no failure, but the last response
   */
  watch(request: IWatchCreateRequest, signal: AbortSignal): AsyncGenerator<IWatchResponse>;

  /** Drops all connections and what runs over them; what comes next makes new ones. */
  reconnect(): void;
}

/**
 * Calls and watches on a cluster: takes the next endpoint when one fails, and keeps the token of
 * the user.
 */
export class EtcdV3Client implements EtcdV3Caller {
  readonly #endpoints: readonly Endpoint[];
  /**
   * A watch that yields nothing, created beside the one proper to see whether etcd answers, and
   * canceled at once. It is the one question that every version answers on the stream itself: a
   * dead stream on a connection that works is found out, too.
   */
  readonly #probe: IWatchCreateRequest;
  readonly #caFile: string | undefined;
  readonly #user: { readonly name: string; readonly password: string } | undefined;
  readonly #heartbeat: number;
  readonly #timeout: number;
  /** Index of the endpoint that served last. */
  #pinned = 0;
  /** `undefined` until asked for; empty when the server has no users. */
  #token: string | undefined;

  /** @throws {ConfigError} when an endpoint is not an http or https URL */
  constructor(options: EtcdOptions, tls: TlsFiles, clientOptions: EtcdV3ClientOptions = {}) {
    const key = Buffer.from(`${options.prefix}/config`);
    this.#probe = { key, filters: ["Noput", "Nodelete"] };
    this.#caFile = options.caFile;
    const endpoints = options.endpoints.map((text) => parseEndpoint(text, options));
    this.#user = endpoints.find(({ user }) => user !== undefined)?.user;
    this.#heartbeat = clientOptions.heartbeat ?? 10_000;
    this.#timeout = clientOptions.timeout ?? 10_000;
    // Shuffled, so that a thousand agents do not all use the first.
    this.#endpoints = shuffled(endpoints).map(({ url }) => new Endpoint(url, tls));
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
      let heard = true;
      let busy = false;
      timer = setInterval(() => {
        if (heard || busy) {
          heard = false;
          stream!.write({ create_request: this.#probe });
        } else {
          stream!.destroy(this.#silence(endpoint));
        }
      }, this.#heartbeat);
      stream.write({ create_request: request });
      let id: string | undefined;
      for await (const response of stream as AsyncIterable<IWatchResponse>) {
        heard = true;
        requireCompleteEvents(endpoint.url, response);
        id ??= response.watch_id;
        if (response.watch_id !== id) {
          if (response.created && !response.canceled) {
            stream.write({ cancel_request: { watch_id: response.watch_id } });
          }
          continue;
        }
        if (response.canceled && response.compact_revision === "0") {
          // Versions before 3.5 return "permission denied" for an expired token, too.
          this.#token = undefined;
          throw new Error(response.cancel_reason || "the watch was canceled");
        }
        busy = true;
        yield response;
        busy = false;
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

  reconnect(): void {
    for (const endpoint of this.#endpoints) {
      endpoint.reset(new StoreUnavailableError(`${endpoint.url}: the connection was given up`));
    }
  }

  /** Ends every call and lets the process exit. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#endpoints.map((endpoint) => endpoint[Symbol.asyncDispose]()));
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
        const options = { metadata: metadata(token), timeout, signal };
        const answer = await endpoint.call(method, request, options);
        requireCompleteAnswer(endpoint.url, method, request, answer);
        return answer;
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

  #silence({ url }: Endpoint): StoreError {
    return new StoreUnavailableError(`${url}: no answer within ${this.#heartbeat / 1000} s`);
  }

  #toStoreError(endpoint: Endpoint, error: unknown): StoreError {
    const { url, hasAnswered } = endpoint;
    const username = this.#user?.name;
    return toStoreError(error, { url, username, caFile: this.#caFile, hasAnswered });
  }

  #failed(endpoint: Endpoint, error: unknown): StoreError {
    const failure = this.#toStoreError(endpoint, error);
    if (failure instanceof StoreUnavailableError && !isOfEtcd(error)) endpoint.drop(error, failure);
    return failure;
  }
}

/**
 * Metadata of each call: the token, and the request that a member without a leader refuse at once
 * instead of letting the call wait. The names are etcd's, from its rpctypes package.
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
      failures.map(({ message }) => message).toSorted().map((message, i) =>
        `; error #${i}: ${message}`
      ).join(""),
    { cause: failures },
  );
}
