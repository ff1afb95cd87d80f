import { ConfigError } from "../config/mod.ts";
import type { Prefix } from "../ip/mod.ts";
import { parseLeaseKey } from "../lease/mod.ts";
import { info, verbose, warning } from "../observe/log/log.ts";
import { ConflictError, StoreError, StoreUnavailableError } from "../store/mod.ts";
import { JSON_TYPE } from "../store/remote/flannel/protocol.ts";
import { GONE, VERSION_BODY } from "../store/remote/wire.ts";
import { WireError } from "../store/remote/wire_error.ts";
import { AcquireError } from "../subnet/mod.ts";
import { type AccessOptions, AccessPolicy, type Caller } from "./access.ts";
import * as flannel from "./flannel_routes.ts";
import { AddressQuota } from "../http/quota.ts";
import type { HttpReply } from "../http/reply.ts";
import type { HttpRequest } from "../http/request_reader.ts";
import { HttpError } from "../http/head.ts";
import type { ServedNetwork, ServedNetworks } from "./networks.ts";
import * as kv from "./store_routes.ts";
import { truncate } from "../text/mod.ts";

/** Body of an answer: JSON, or nothing. */
type Body = string | undefined;

/** As the router of flannel's server answers. */
const NOT_FOUND: HttpReply = { status: 404, body: "404 page not found\n" };

/** A request that no route accepts. */
class BadRequestError extends Error {
  override readonly name = "BadRequestError";
}

/** Options of {@linkcode makeHandler}. */
export interface RouterOptions extends AccessOptions {
  /** Polls that are held at a time; one more is answered 503. */
  readonly polls: number;
  /** Likewise of one address. */
  readonly pollsPerAddress: number;
  /** Serve only what flannel 0.7.1 serves. @default false */
  readonly plain?: boolean;
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
      caller = this.#access.identify(request);
      this.#access.admit(request, caller);
    } catch (error) {
      if (!(error instanceof HttpError)) throw error;
      warning(`Refused ${shownLine(request)} from ${request.peer.address}: ${error.message}`);
      return { status: error.status, body: `${error.message}\n` };
    }
    const parts = request.path.split("/");
    const isNative = parts[1] === "v1" && parts[3] === "store" && !this.#options.plain;
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
    let shown: number | undefined;
    try {
      const answer = isNative
        ? await this.#native(request, parts, caller, next, signal)
        : await this.#flannel(request, parts, caller, { next: next ?? undefined, signal });
      if (answer === undefined) reply = NOT_FOUND;
      else if (answer.body === undefined) {
        reply = { status: 200, body: "" };
        // flannel's server logs the status that its handlers set, and these set none.
        if (!isNative && parts.at(-2) !== "reservations") shown = 0;
      } else reply = { status: 200, contentType: JSON_TYPE, body: answer.body };
    } catch (error) {
      // The client has gone.
      if (signal.aborted) return NOT_FOUND;
      reply = isNative ? nativeError(error) : flannelError(error);
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
    return this.#log(request, caller, reply, shown, isNative);
  }

  #log(
    request: HttpRequest,
    { address, identity }: Caller,
    reply: HttpReply,
    shown = reply.status,
    isNative = false,
  ): HttpReply {
    const isWrite = request.method !== "GET" && request.method !== "HEAD";
    // flannel's line for each request; agents of flanneld send too many for that.
    const line = `${shownLine(request)} - ${shown}` +
      (isWrite ? ` (${address}, ${identity})` : "");
    if (isNative && !isWrite && (reply.status < 400 || reply.body === GONE)) verbose(1, line);
    else info(line);
    return reply;
  }

  /** Serves the routes of flannel 0.7.1. @returns `undefined` for other routes */
  async #flannel(
    { method, body }: HttpRequest,
    parts: readonly string[],
    caller: Caller,
    watch: flannel.WatchRequest,
  ): Promise<{ body: Body } | undefined> {
    const [, version, name, what, key, ...more] = parts;
    if (version !== "v1" || name === undefined || more.length > 0) return undefined;
    if (name === "" && what === undefined) {
      if (method !== "GET") return undefined;
      return { body: await flannel.watchNetworks(await this.#networks.names(), watch) };
    }
    const route = `${method} ${what}${key === undefined ? "" : "/key"}`;
    const network = (): Promise<ServedNetwork> => this.#network(name);
    switch (route) {
      case "GET config":
        return { body: await flannel.getConfig(await network()) };
      case "GET leases":
        return { body: await flannel.watchLeases(await network(), watch) };
      case "POST leases":
        return { body: await flannel.postLease(await network(), body, caller) };
      case "GET leases/key":
        return { body: await flannel.watchLease(await network(), subnetOf(key), watch) };
      case "PUT leases/key":
        return { body: await flannel.putLease(await network(), body, caller) };
      case "DELETE leases/key": {
        const subnet = subnetOf(key, "failed to parse subnet");
        await flannel.deleteLease(await network(), subnet, caller);
        return { body: undefined };
      }
      case "GET reservations":
        return { body: await flannel.getReservations(await network()) };
      case "POST reservations":
        await flannel.postReservation(await network(), body, caller).catch((error) => {
          // The only one of flannel's handlers that adds these words.
          if (!(error instanceof StoreError)) throw error;
          throw new StoreError(`internal error: ${error.message}`, { cause: error });
        });
        return { body: undefined };
      case "DELETE reservations/key":
        await flannel.deleteReservation(await network(), subnetOf(key), caller);
        return { body: undefined };
      default:
        return undefined;
    }
  }

  /** Serves the routes below `/store`, those of flanneld's own clients. */
  async #native(
    { method, query, body }: HttpRequest,
    [, , name, , ...parts]: readonly string[],
    caller: Caller,
    next: string | null,
    signal: AbortSignal,
  ): Promise<{ body: Body } | undefined> {
    if (name === undefined) return undefined;
    const path = parts.join("/");
    if (path === "version") return { body: VERSION_BODY };
    const network = await this.#network(name);
    if (path === "") {
      if (method !== "GET") return undefined;
      const answer = next === null ? kv.getStore(network) : kv.pollStore(network, next, signal);
      return { body: await answer };
    }
    const key = kv.parseServedKey(network, path);
    if (key === undefined) throw new BadRequestError("bad key");
    switch (method) {
      case "GET":
        return found(await kv.getEntry(network, key, query.has("ttl")));
      case "PUT":
        return { body: await kv.putEntry(network, key, body, caller) };
      case "DELETE":
        await kv.deleteEntry(network, key, query.get("revision"), caller);
        return { body: undefined };
      default:
        return undefined;
    }
  }

  async #network(name: string): Promise<ServedNetwork> {
    const network = await this.#networks.get(name);
    if (network === undefined) throw new BadRequestError("bad network name");
    return network;
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

function found(body: Body): { body: Body } {
  if (body === undefined) throw new GoneError(GONE);
  return { body };
}

function subnetOf(key: string | undefined, message = "bad subnet"): Prefix {
  const subnet = parseLeaseKey(key ?? "");
  if (subnet === undefined) throw new BadRequestError(message);
  return subnet;
}

/** As flannel's server answers: 400 for what it cannot read, 500 for all else, and the bare text. */
function flannelError(error: unknown): HttpReply {
  if (error instanceof BadRequestError) return { status: 400, body: error.message };
  if (error instanceof HttpError) return { status: error.status, body: `${error.message}\n` };
  if (error instanceof WireError) {
    return { status: 400, body: `JSON decoding error: ${error.message}` };
  }
  return { status: 500, body: messageOf(error) };
}

function nativeError(error: unknown): HttpReply {
  if (error instanceof GoneError) return { status: 404, body: error.message };
  if (error instanceof HttpError) return { status: error.status, body: `${error.message}\n` };
  const status = error instanceof BadRequestError || error instanceof WireError
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
  const kinds = [AcquireError, BadRequestError, ConfigError, StoreError, WireError];
  if (error instanceof Error && kinds.some((kind) => error instanceof kind)) return error.message;
  info(`A request failed by a defect of flanneld, please report it: ${(error as Error)?.stack}`);
  return "internal error";
}
