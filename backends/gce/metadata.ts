import { ProviderError } from "../provider/errors.ts";
import { type HttpResponse, requestHttp } from "../../mod/http/client.ts";
import { isTimeout } from "../../mod/async/timeout.ts";

/** The metadata server's link-local address. */
const HOST = "169.254.169.254";

/** Limit of one answer, in milliseconds: the server is on the host itself. */
const TIMEOUT_MS = 2_000;

/** Tokens are renewed so long before they run out, in milliseconds. */
const EARLY = 60_000;

/** Identity of a machine of Google. */
export interface GceMachine {
  readonly project: string;
  /** `europe-west1-b` */
  readonly zone: string;
  readonly name: string;
  /** Name of the network that its interface with our address is in. */
  readonly network: string;
  /** Its service account's address, for messages. */
  readonly account: string;
}

/** Options of {@linkcode GceMetadata}. */
export interface GceMetadataOptions {
  /** Host, and port where it is not 80. @default GCE_METADATA_HOST, else 169.254.169.254 */
  readonly host?: string;
  /** Milliseconds since the epoch. @default Date.now */
  readonly now?: () => number;
  /** Milliseconds that one answer may take. @default 2_000 */
  readonly timeoutMs?: number;
}

/** Compute Engine's metadata server. */
export class GceMetadata {
  readonly #host: string;
  readonly #now: () => number;
  readonly #timeoutMs: number;
  #token: { readonly value: string; readonly expires: number } | undefined;

  constructor({ host, now = Date.now, timeoutMs = TIMEOUT_MS }: GceMetadataOptions = {}) {
    this.#host = host ?? (Deno.env.get("GCE_METADATA_HOST")?.trim() || HOST);
    this.#now = now;
    this.#timeoutMs = timeoutMs;
  }

  /**
   * Finds out which machine this is.
   *
   * @param address of the external interface, dotted
   * @throws {ProviderError} when this is none, or no interface of it has the address
   */
  async machine(address: string, signal: AbortSignal): Promise<GceMachine> {
    const required = async (path: string) => {
      const value = await this.#get(path, signal);
      if (value !== undefined) return value;
      throw new ProviderError("unsuitable", `the metadata server at ${this.#host} lacks ${path}`);
    };
    const interfaces = parseInterfaces(
      await required("instance/network-interfaces/?recursive=true"),
      this.#host,
    );
    const own = interfaces.find(({ ip }) => ip === address);
    if (own === undefined) {
      throw new ProviderError(
        "unsuitable",
        `this instance has no interface with address ${address}, only ` +
          `${
            interfaces.map(({ ip }) => ip).join(", ")
          }: the external interface (-iface) must be one ` +
          "of those",
      );
    }
    return {
      project: await required("project/project-id"),
      // projects/123456789/zones/europe-west1-b
      zone: lastSegment(await required("instance/zone")),
      name: await required("instance/name"),
      // projects/123456789/networks/default
      network: lastSegment(own.network),
      account: await this.#get("instance/service-accounts/default/email", signal) ??
        "an instance without a service account",
    };
  }

  /**
   * An access token of the instance's service account that is good for a minute at least.
   *
   * @throws {ProviderError} when there is none
   */
  async accessToken(signal: AbortSignal): Promise<string> {
    if (this.#token !== undefined && this.#now() < this.#token.expires - EARLY) {
      return this.#token.value;
    }
    const text = await this.#get("instance/service-accounts/default/token", signal);
    if (text === undefined) {
      throw new ProviderError(
        "denied",
        "the instance has no service account; give it one with the role of docs/backends/gce.md",
      );
    }
    let answer: { access_token?: unknown; expires_in?: unknown } | null;
    try {
      answer = JSON.parse(text);
    } catch {
      throw new ProviderError("unavailable", "the metadata server's token is not JSON");
    }
    const { access_token: value, expires_in: seconds } = answer ?? {};
    if (typeof value !== "string" || typeof seconds !== "number") {
      throw new ProviderError("unavailable", "the metadata server's token is not complete");
    }
    this.#token = { value, expires: this.#now() + seconds * 1000 };
    return value;
  }

  /** Drops a refused token: the next call requests a new one. */
  forgetToken(): void {
    this.#token = undefined;
  }

  async #get(path: string, signal: AbortSignal): Promise<string | undefined> {
    const url = URL.parse(`http://${this.#host}/computeMetadata/v1/${path}`);
    if (url === null) {
      throw new ProviderError(
        "unsuitable",
        `GCE_METADATA_HOST must be a host, with a port where that is not 80, not ${this.#host}`,
      );
    }
    let response: HttpResponse;
    try {
      response = await requestHttp(url, {
        headers: { "Metadata-Flavor": "Google" },
        signal: AbortSignal.any([signal, AbortSignal.timeout(this.#timeoutMs)]),
      });
    } catch (error) {
      signal.throwIfAborted();
      const reason = isTimeout(error)
        ? `no answer within ${this.#timeoutMs / 1000} s`
        : (error as Error).message;
      throw new ProviderError(
        "unavailable",
        `the metadata server at ${this.#host} cannot be reached (${reason}); is this a Compute ` +
          "Engine instance?",
        { cause: error },
      );
    }
    if (response.status === 200) return response.body.trim();
    if (response.status === 404) return undefined;
    throw new ProviderError(
      response.status >= 500 || response.status === 429 ? "unavailable" : "denied",
      `the metadata server at ${this.#host} answers ${path} with HTTP ${response.status}`,
    );
  }
}

function parseInterfaces(text: string, host: string): { ip: string; network: string }[] {
  try {
    const list = JSON.parse(text) as { ip?: unknown; network?: unknown }[];
    return list.flatMap(({ ip, network }) =>
      typeof ip === "string" && typeof network === "string" ? [{ ip, network }] : []
    );
  } catch (cause) {
    throw new ProviderError(
      "unavailable",
      `the metadata server at ${host} does not list the instance's interfaces`,
      { cause },
    );
  }
}

/** `default` of `projects/123/networks/default`, or of a URL that ends so. */
export function lastSegment(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}
