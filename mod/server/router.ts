import { ConfigError } from "../config/mod.ts";
import { info, verbose, warning } from "../observe/log/log.ts";
import { ConflictError, StoreError, StoreUnavailableError } from "../store/mod.ts";
import { GONE, VERSION_BODY } from "../store/remote/wire.ts";
import { WireError } from "../store/remote/wire_error.ts";
import { type AccessOptions, AccessPolicy, type Caller } from "./access.ts";
import { AddressQuota } from "../http/quota.ts";
import type { HttpReply } from "../http/reply.ts";
import type { HttpRequest } from "../http/request_reader.ts";
import { HttpError } from "../http/head.ts";
import type { ServedNetworks } from "./networks.ts";
import * as kv from "./store_routes.ts";
import { truncate } from "../text/mod.ts";

/** `Content-Type` of answers with a body of JSON. */
const JSON_TYPE = "application/json; charset=utf-8";

const NOT_FOUND: HttpReply = { status: 404, body: "404 page not found\n" };

/** Options of {@linkcode makeHandler}. */
export interface RouterOptions extends AccessOptions {
  /** Polls that are held at a time; one more is answered 503. */
  readonly polls: number;
  /** Likewise of one address. */
  readonly pollsPerAddress: number;
}

/** Makes the handler of all requests. */
export function makeHandler(
  networks: ServedNetworks,
  options: RouterOptions,
): (request: HttpRequest, signal: AbortSignal) => Promise<HttpReply> {
  const router = new Router(networks, options);
  return (request, signal) => router.handle(request, signal);
}

class Router {
  readonly #networks: ServedNetworks;
  readonly #options: RouterOptions;
  readonly #access: AccessPolicy;
  readonly #pollQuota: AddressQuota;
  #held = 0;

  constructor(networks: ServedNetworks, options: RouterOptions) {
    this.#networks = networks;
    this.#options = options;
    this.#access = new AccessPolicy(options);
    this.#pollQuota = new AddressQuota(options.pollsPerAddress);
  }

  async handle(request: HttpRequest, signal: AbortSignal): Promise<HttpReply> {
    let caller: Caller;
    try {
      caller = await this.#access.identify(request);
      this.#access.admit(request, caller);
    } catch (error) {
      if (!(error instanceof HttpError)) throw error;
      // Without the target, which a client may choose, the log suppresses repeated lines.
      const refused = error.status === 429 ? "requests" : shownLine(request);
      warning(`Refused ${refused} from ${request.peer.address}: ${error.message}`);
      return { status: error.status, body: `${error.message}\n` };
    }
    const parts = request.path.split("/");
    const next = request.query.get("next");
    const isPoll = request.method === "GET" && next !== null;
    const { address } = request.peer;
    if (isPoll && this.#held >= this.#options.polls) {
      const body = `the server holds ${this.#held} polls already; try again later\n`;
      return this.#log(request, caller, { status: 503, body });
    }
    if (isPoll && !this.#pollQuota.take(address)) {
      const { pollsPerAddress } = this.#options;
      const body = `${address} holds ${pollsPerAddress} polls already; try again later\n`;
      return this.#log(request, caller, { status: 503, body });
    }
    if (isPoll) this.#held++;
    let reply: HttpReply;
    try {
      const body = await this.#answer(request, parts, caller, next, signal);
      reply = body === undefined
        ? NOT_FOUND
        : body === ""
        ? { status: 200, body }
        : { status: 200, contentType: JSON_TYPE, body };
    } catch (error) {
      // The client has gone.
      if (signal.aborted) return NOT_FOUND;
      reply = replyOf(error);
      // The line of a request holds the status only.
      if (error instanceof StoreUnavailableError) {
        warning(`The store cannot be reached for the clients of -listen: ${error.message}`);
      }
    } finally {
      if (isPoll) {
        this.#held--;
        this.#pollQuota.release(address);
      }
    }
    return this.#log(request, caller, reply);
  }

  #log(request: HttpRequest, { address, identity }: Caller, reply: HttpReply): HttpReply {
    const isWrite = request.method !== "GET" && request.method !== "HEAD";
    const line = `${shownLine(request)} - ${reply.status}` +
      (isWrite ? ` (${address}, ${identity})` : "");
    // Agents send too many reads for a line each.
    if (!isWrite && (reply.status < 400 || reply.body === GONE)) verbose(1, line);
    else info(line);
    return reply;
  }

  /** @returns the body; `undefined` where there is no such route */
  async #answer(
    { method, query, body }: HttpRequest,
    [, version, name, store, ...parts]: readonly string[],
    caller: Caller,
    next: string | null,
    signal: AbortSignal,
  ): Promise<string | undefined> {
    if (version !== "v1" || name === undefined) return undefined;
    if (name === "networks" && store === undefined) {
      if (method !== "GET") return undefined;
      const names = await this.#networks.names();
      return await (next === null ? kv.getNames(names) : kv.pollNames(names, next, signal));
    }
    if (store !== "store") return undefined;
    const path = parts.join("/");
    if (path === "version") return VERSION_BODY;
    const network = await this.#networks.get(name, caller.isTrusted);
    if (network === undefined) throw new HttpError(400, "bad network name");
    if (path === "") {
      if (method !== "GET") return undefined;
      return await (next === null ? kv.getStore(network) : kv.pollStore(network, next, signal));
    }
    const key = kv.parseServedKey(network, path);
    if (key === undefined) throw new HttpError(400, "bad key");
    switch (method) {
      case "GET": {
        const entry = await kv.getEntry(network, key, query.has("ttl"));
        if (entry === undefined) throw new GoneError(GONE);
        return entry;
      }
      case "PUT":
        return await kv.putEntry(network, key, body, caller);
      case "DELETE":
        await kv.deleteEntry(network, key, query.get("revision"), caller);
        return "";
      default:
        return undefined;
    }
  }
}

/** Method and target for the log. */
function shownLine({ method, target }: HttpRequest): string {
  return `${method} ${truncate(target, 200)}`;
}

/** There is no such entry. */
class GoneError extends Error {
  override readonly name = "GoneError";
}

function replyOf(error: unknown): HttpReply {
  if (error instanceof GoneError) return { status: 404, body: error.message };
  if (error instanceof HttpError) return { status: error.status, body: `${error.message}\n` };
  const status = error instanceof WireError
    ? 400
    : error instanceof ConflictError
    ? 409
    : error instanceof StoreUnavailableError
    ? 503
    : 500;
  return { status, body: `${messageOf(error)}\n` };
}

/** Returns the message of an error for clients; hides that of a defect. */
function messageOf(error: unknown): string {
  const kinds = [ConfigError, StoreError, WireError];
  if (error instanceof Error && kinds.some((kind) => error instanceof kind)) return error.message;
  info(`A request failed by a defect of flanneld, please report it: ${(error as Error)?.stack}`);
  return "internal error";
}
