import { sleep } from "../../mod/async/sleep.ts";
import { ProviderError } from "../provider/errors.ts";
import { fetchAnswer } from "../provider/fetch_answer.ts";
import { decodeFailure, failureOf } from "./failure.ts";
import type { GceMetadata } from "./metadata.ts";

/** The service's address in Compute Engine's REST reference. */
const ENDPOINT = "https://compute.googleapis.com/compute/v1/";

/** How long one answer may take, in milliseconds. */
const TIMEOUT_MS = 15_000;

/** Milliseconds until an operation is polled again, first and last delay. */
const POLL = { first: 100, last: 1_000 };

/** A Route resource, as far as it is needed. */
export interface RouteResource {
  readonly name: string;
  /** URL of the network. */
  readonly network: string;
  readonly destRange: string;
  readonly priority: number;
  /** URL of the instance it leads to. */
  readonly nextHopInstance?: string;
  readonly warnings?: readonly { readonly code: string }[];
}

/** An Instance resource, as far as it is needed. */
export interface InstanceResource {
  readonly canIpForward?: boolean;
}

/** An Operation resource, as far as it is needed. */
interface Operation {
  readonly name: string;
  readonly status: "PENDING" | "RUNNING" | "DONE";
  readonly httpErrorStatusCode?: number;
  readonly error?: {
    readonly errors?: readonly { readonly code?: string; readonly message?: string }[];
  };
}

/** Dependencies of {@linkcode Compute}. */
export interface ComputeOptions {
  readonly metadata: Pick<GceMetadata, "accessToken" | "forgetToken">;
  readonly project: string;
  /** For messages. */
  readonly account: string;
}

/**
 * The calls of Compute Engine's API that routes need. Each is one attempt; one that changes something
 * returns when that is done.
 */
export class Compute {
  readonly #options: ComputeOptions;
  readonly #endpoint: string;

  constructor(options: ComputeOptions) {
    this.#options = options;
    // gcloud's own variable for another address of the service.
    const named = Deno.env.get("CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE")?.trim();
    this.#endpoint = (named || ENDPOINT).replace(/\/?$/, "/");
    if (URL.parse(this.#endpoint) === null) {
      throw new ProviderError(
        "unsuitable",
        `CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE must be a URL such as ${ENDPOINT}, not ${named}`,
      );
    }
  }

  /** All routes of the project. */
  async listRoutes(signal: AbortSignal): Promise<RouteResource[]> {
    const routes: RouteResource[] = [];
    for (let token = "";;) {
      const query = new URLSearchParams({ maxResults: "500", ...(token && { pageToken: token }) });
      const call = {
        method: "GET",
        path: `global/routes?${query}`,
        verb: "routes.list",
        signal,
      } as const;
      const page = await this.#call<{ items?: unknown; nextPageToken?: unknown }>(call);
      const items = page.items ?? [];
      if (!Array.isArray(items) || !items.every(isRoute)) {
        throw this.#unreadable(call, "a list of routes");
      }
      routes.push(...items);
      token = typeof page.nextPageToken === "string" ? page.nextPageToken : "";
      if (token === "") return routes;
    }
  }

  /** After a lost answer, Google answers the next attempt that the route exists. */
  async insertRoute(route: RouteResource, signal: AbortSignal): Promise<void> {
    await this.#change({
      ...{ method: "POST", path: "global/routes", verb: "routes.insert", signal },
      ...{ body: route, resource: `global/routes/${route.name}` },
    });
  }

  async deleteRoute(name: string, signal: AbortSignal): Promise<void> {
    await this.#change({
      ...{ method: "DELETE", path: `global/routes/${name}`, verb: "routes.delete", signal },
    });
  }

  async getInstance(zone: string, name: string, signal: AbortSignal): Promise<InstanceResource> {
    return await this.#call({
      ...{ method: "GET", path: `zones/${zone}/instances/${name}`, verb: "instances.get", signal },
    });
  }

  /** Makes a call and waits until what it began is done. */
  async #change(call: Call): Promise<void> {
    let operation = await this.#call<Operation>(call);
    for (let delay = POLL.first; operation.status !== "DONE";) {
      await sleep(delay, call.signal);
      call.signal.throwIfAborted();
      delay = Math.min(delay * 2, POLL.last);
      operation = await this.#call({
        method: "GET",
        path: `global/operations/${operation.name}`,
        verb: "globalOperations.get",
        signal: call.signal,
      });
    }
    const error = operation.error?.errors?.[0];
    if (error === undefined) return;
    throw failureOf({
      status: operation.httpErrorStatusCode ?? 0,
      reason: error.code ?? "",
      message: error.message ?? "",
    }, this.#words(call));
  }

  async #call<T>(call: Call): Promise<T> {
    const { method, path, body, signal } = call;
    for (let attempt = 1;; attempt++) {
      const token = await this.#options.metadata.accessToken(signal);
      const url = `${this.#endpoint}projects/${this.#options.project}/${path}`;
      const { response, text } = await fetchAnswer(url, {
        ...{ method, signal, timeoutMs: TIMEOUT_MS, what: this.#words(call).what },
        headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      if (response.ok) return this.#decode(text, call);
      if (response.status === 401) {
        this.#options.metadata.forgetToken();
        if (attempt === 1) continue;
      }
      throw failureOf(decodeFailure(response.status, text), this.#words(call));
    }
  }

  #decode<T>(text: string, call: Call): T {
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch (cause) {
      throw this.#unreadable(call, "JSON", cause);
    }
    if (typeof value !== "object" || value === null) throw this.#unreadable(call, "a JSON object");
    return value as T;
  }

  #unreadable(call: Call, expected: string, cause?: unknown): ProviderError {
    const { what } = this.#words(call);
    return new ProviderError("unavailable", `${what}: the answer is not ${expected}`, { cause });
  }

  #words({ verb, resource, path }: Call) {
    const { project, account } = this.#options;
    const object = resource ?? path.replace(/\?.*$/, "");
    return { what: `compute.${verb} on projects/${project}/${object}`, who: account };
  }
}

/** Returns whether a value has what is used of a route. */
function isRoute(value: unknown): value is RouteResource {
  const { name, network, destRange, priority, nextHopInstance, warnings } = (value ?? {}) as Record<
    string,
    unknown
  >;
  return typeof name === "string" && typeof network === "string" &&
    typeof destRange === "string" && typeof priority === "number" &&
    (nextHopInstance === undefined || typeof nextHopInstance === "string") &&
    (warnings === undefined || Array.isArray(warnings) && warnings.every(isObject));
}

function isObject(value: unknown): boolean {
  return typeof value === "object" && value !== null;
}

/** A call below the project. */
interface Call {
  readonly method: "GET" | "POST" | "DELETE";
  readonly path: string;
  /** As the REST reference names it: `routes.insert`. */
  readonly verb: string;
  readonly body?: unknown;
  /** Object for messages, if the path does not name it. */
  readonly resource?: string;
  readonly signal: AbortSignal;
}
