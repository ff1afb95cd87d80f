import { serve, type ServePlace } from "./serve.ts";

/** Data of an instance's metadata service. */
export interface ImdsOptions extends ServePlace {
  readonly instanceId: string;
  readonly region: string;
  /** Its role; none has no credentials. */
  readonly role?: string;
}

/** Credentials of the instance's role. */
export interface ImdsCredentials {
  readonly AccessKeyId: string;
  readonly SecretAccessKey: string;
  readonly Token: string;
  /** RFC 3339. */
  readonly Expiration: string;
}

/**
 * EC2's instance metadata service of one instance, after "Use IMDS" of the EC2 User Guide: reads are
 * answered only with a session token from a PUT, except in the older mode.
 */
export class Imds implements AsyncDisposable {
  /** `http://127.0.0.1:41234` */
  readonly endpoint: string;
  /** Behaviour: `lost` swallows requests for tokens, as a hop limit of 1 does behind a bridge. */
  behaviour: "v2" | "v1" | "lost" | "off" | "failing" = "v2";
  credentials: ImdsCredentials;
  /** Answered in place of the JSON of {@linkcode credentials}. */
  credentialsText: string | undefined;
  /** Paths that were read, the requests for tokens included. */
  readonly reads: string[] = [];
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  readonly #options: ImdsOptions;
  readonly #tokens = new Set<string>();
  readonly #ending = new AbortController();

  constructor(options: ImdsOptions) {
    this.#options = options;
    this.credentials = {
      AccessKeyId: "ASIAINSTANCE",
      SecretAccessKey: "secret/of+the/instance",
      Token: "token+of/the/instance==",
      Expiration: new Date(Date.now() + 6 * 3600_000).toISOString(),
    };
    this.#server = serve((request) => this.#answer(request), options);
    const { hostname, port } = this.#server.addr;
    this.endpoint = `http://${hostname}:${port}`;
  }

  /** Tokens that were given are good no more. */
  revokeTokens(): void {
    this.#tokens.clear();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ending.abort();
    await this.#server.shutdown();
  }

  async #answer(request: Request): Promise<Response> {
    const { pathname } = new URL(request.url);
    this.reads.push(`${request.method} ${pathname}`);
    if (this.behaviour === "off") return new Response("Forbidden", { status: 403 });
    if (this.behaviour === "failing") return new Response("", { status: 503 });
    if (pathname === "/latest/api/token") return await this.#token(request);
    const token = request.headers.get("x-aws-ec2-metadata-token");
    if (this.behaviour === "v2" && (token === null || !this.#tokens.has(token))) {
      return new Response("Unauthorized", { status: 401 });
    }
    const item = this.#items()[pathname.replace(/^\/latest\/meta-data\//, "")];
    return item === undefined ? new Response("Not Found", { status: 404 }) : new Response(item);
  }

  async #token(request: Request): Promise<Response> {
    if (this.behaviour === "v1") return new Response("Not Found", { status: 404 });
    if (this.behaviour === "lost") {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#ending.signal.addEventListener("abort", () => resolve());
      await promise;
    }
    const ttl = Number(request.headers.get("x-aws-ec2-metadata-token-ttl-seconds"));
    if (request.method !== "PUT" || !(ttl >= 1 && ttl <= 21600)) {
      return new Response("Bad Request", { status: 400 });
    }
    const token = crypto.randomUUID();
    this.#tokens.add(token);
    return new Response(token);
  }

  #items(): Record<string, string> {
    const { instanceId, region, role } = this.#options;
    const directory = "iam/security-credentials/";
    return {
      "instance-id": instanceId,
      "placement/region": region,
      ...(role === undefined ? {} : {
        [directory]: role,
        [directory + role]: this.credentialsText ?? JSON.stringify({
          Code: "Success",
          Type: "AWS-HMAC",
          LastUpdated: new Date().toISOString(),
          ...this.credentials,
        }),
      }),
    };
  }
}
