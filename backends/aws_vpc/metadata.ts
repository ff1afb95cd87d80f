import { ProviderError } from "../provider/errors.ts";
import { type HttpResponse, requestHttp } from "../../mod/http/client.ts";
import { isTimeout } from "../../mod/async/timeout.ts";
import type { AwsEnvironment } from "./environment.ts";

/** The instance metadata service's link-local address. */
const ENDPOINT = "http://169.254.169.254";

/** How long one answer may take, in milliseconds: the service is on the host itself. */
const TIMEOUT_MS = 1_000;

/** Lifetime of a session token, in seconds: the longest that IMDSv2 gives. */
const TOKEN_TTL = 21_600;

/** Options of {@linkcode InstanceMetadata}. */
export interface MetadataOptions {
  /** Milliseconds that one answer may take. @default 1000 */
  readonly timeoutMs?: number;
}

/**
 * EC2's instance metadata service, version 2: each read carries a session token that was asked for by
 * PUT, which neither a proxy nor a tricked web server passes on. Version 1, without token, is refused
 * unless AWS_EC2_METADATA_V1_DISABLED is `false`.
 */
export class InstanceMetadata {
  readonly #env: AwsEnvironment;
  readonly #timeoutMs: number;
  #token: { readonly value: string; readonly expires: number } | undefined;

  constructor(env: AwsEnvironment, { timeoutMs = TIMEOUT_MS }: MetadataOptions = {}) {
    this.#env = env;
    this.#timeoutMs = timeoutMs;
  }

  /** True when AWS_EC2_METADATA_DISABLED forbids its use. */
  get isDisabled(): boolean {
    return this.#env.flag("AWS_EC2_METADATA_DISABLED") === true;
  }

  get endpoint(): string {
    return (this.#env.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") ?? ENDPOINT).replace(/\/$/, "");
  }

  /**
   * Reads an item.
   *
   * @param path below `/latest/meta-data/`: `instance-id`
   * @returns `undefined` where there is no such item
   * @throws {ProviderError} when there is no such service, or it refuses
   */
  async get(path: string, signal: AbortSignal): Promise<string | undefined> {
    for (let attempt = 1;; attempt++) {
      const token = await this.#sessionToken(signal);
      const response = await this.#request(`/latest/meta-data/${path}`, {
        method: "GET",
        headers: token === undefined ? {} : { "X-aws-ec2-metadata-token": token },
        signal,
      });
      const { status, body: text } = response;
      if (status === 200) return text.trim();
      if (status === 404) return undefined;
      // The token was given by an instance that this machine is not any more.
      if (status === 401 && attempt === 1) this.#token = undefined;
      else throw this.#refusal(path, response);
    }
  }

  async #sessionToken(signal: AbortSignal): Promise<string | undefined> {
    if (this.#token !== undefined && Date.now() < this.#token.expires) return this.#token.value;
    const allowsV1 = this.#env.flag("AWS_EC2_METADATA_V1_DISABLED") === false;
    let response: HttpResponse;
    try {
      response = await this.#request("/latest/api/token", {
        method: "PUT",
        headers: { "X-aws-ec2-metadata-token-ttl-seconds": String(TOKEN_TTL) },
        signal,
      });
    } catch (error) {
      if (!(error instanceof TokenTimeout)) throw error;
      if (allowsV1) return undefined;
      throw new ProviderError(
        "unavailable",
        `${this.endpoint} has not given a session token (IMDSv2) within ${this.#timeoutMs} ms. In a ` +
          "container, or behind anything that routes, the instance's hop limit must be 2 or more: " +
          "aws ec2 modify-instance-metadata-options --http-put-response-hop-limit 2",
        { cause: error },
      );
    }
    const { status, body: text } = response;
    if (status === 200) {
      // Requests a new one a minute early, so that none expires on the way.
      this.#token = { value: text.trim(), expires: Date.now() + (TOKEN_TTL - 60) * 1000 };
      return this.#token.value;
    }
    if ([403, 404, 405].includes(status) && allowsV1) return undefined;
    if (status === 404 || status === 405) {
      throw new ProviderError(
        "unsuitable",
        `${this.endpoint} knows no session tokens (HTTP ${status}), so it is IMDSv1 at best, which ` +
          "is refused; AWS_EC2_METADATA_V1_DISABLED=false allows it",
      );
    }
    throw this.#refusal("token", response);
  }

  #refusal(path: string, { status }: HttpResponse): ProviderError {
    if (status >= 500 || status === 429) {
      return new ProviderError(
        "unavailable",
        `${this.endpoint} answers ${path} with HTTP ${status}`,
      );
    }
    return new ProviderError(
      "denied",
      `${this.endpoint} refuses ${path} (HTTP ${status})` +
        (status === 403
          ? ": the instance's metadata options turn it off (HttpEndpoint), or a firewall does"
          : ""),
    );
  }

  async #request(
    path: string,
    { method, headers, signal }: {
      readonly method: "GET" | "PUT";
      readonly headers: Readonly<Record<string, string>>;
      readonly signal: AbortSignal;
    },
  ): Promise<HttpResponse> {
    if (this.isDisabled) {
      throw new ProviderError(
        "unsuitable",
        "AWS_EC2_METADATA_DISABLED is true, so the instance metadata service is not asked",
      );
    }
    const url = URL.parse(this.endpoint + path);
    if (url?.protocol !== "http:") {
      throw new ProviderError(
        "unsuitable",
        `AWS_EC2_METADATA_SERVICE_ENDPOINT must be an http:// address, not ${this.endpoint}`,
      );
    }
    const limit = AbortSignal.any([signal, AbortSignal.timeout(this.#timeoutMs)]);
    try {
      return await requestHttp(url, { method, headers, signal: limit });
    } catch (error) {
      signal.throwIfAborted();
      if (method === "PUT" && isTimeout(error)) throw new TokenTimeout();
      const reason = isTimeout(error)
        ? `no answer within ${this.#timeoutMs} ms`
        : (error as Error).message;
      throw new ProviderError(
        "unavailable",
        `the instance metadata service at ${this.endpoint} cannot be reached (${reason}); is this an ` +
          "EC2 instance?",
        { cause: error },
      );
    }
  }
}

/** The request for a token, or its answer, was lost. */
class TokenTimeout extends Error {}
