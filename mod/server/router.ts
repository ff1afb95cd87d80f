import { ConfigError } from "../config/mod.ts";
import { parseIPv4, type Prefix } from "../ip/mod.ts";
import { parseLeaseKey } from "../lease/mod.ts";
import { info, verbose, warning } from "../observe/log/log.ts";
import { ConflictError, StoreError, StoreUnavailableError } from "../store/mod.ts";
import { GONE, VERSION_BODY } from "../store/remote/extension.ts";
import { JSON_TYPE, WireError } from "../store/remote/protocol.ts";
import { AcquireError } from "../subnet/mod.ts";
import { type AccessOptions, AccessPolicy, type Caller } from "./access.ts";
import * as flannel from "./flannel_routes.ts";
import { AddressQuota } from "../http/quota.ts";
import type { HttpReply } from "../http/reply.ts";
import type { HttpRequest } from "../http/request_reader.ts";
import { HttpError } from "../http/head.ts";
import type { ServedNetwork, ServedNetworks } from "./networks.ts";
import * as whole from "./store_routes.ts";

/** What a route answers with: JSON, or nothing. */
type Body = string | undefined;

/** As the router of flannel's server answers. */
const NOT_FOUND: HttpReply = { status: 404, body: "404 page not found\n" };

/** A request that no route can make sense of. */
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
    const isOurs = parts[1] === "v1" && parts[3] === "store" && !this.#options.plain;
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
      const answer = isOurs
        ? await this.#whole(request, parts, caller, next, signal)
        : await this.#flannel(request, parts, caller, { next: next ?? undefined, signal });
      if (answer === undefined) reply = NOT_FOUND;
      else if (answer.body === undefined) {
        reply = { status: 200, body: "" };
        // flannel's server logs the status that its handlers set, and these set none.
        if (!isOurs && parts.at(-2) !== "reservations") shown = 0;
      } else reply = { status: 200, contentType: JSON_TYPE, body: answer.body };
    } catch (error) {
      // Nobody takes the answer.
      if (signal.aborted) return NOT_FOUND;
      reply = isOurs ? wholeError(error) : flannelError(error);
      // The line of a request tells the status only.
      if (error instanceof StoreUnavailableError) {
        warning(`The store cannot be reached for the clients of -listen: ${error.message}`);
      }
    } finally {
      if (isPoll) {
        this.#held--;
        this.#pollQuota.release(address);
      }
    }
    return this.#log(request, caller, reply, shown, isOurs);
  }

  #log(
    request: HttpRequest,
    { address, identity }: Caller,
    reply: HttpReply,
    shown = reply.status,
    isOurs = false,
  ): HttpReply {
    const isWrite = request.method !== "GET" && request.method !== "HEAD";
    // flannel's line for each request; agents of this software send too many for that.
    const line = `${shownLine(request)} - ${shown}` +
      (isWrite ? ` (${address}, ${identity})` : "");
    if (isOurs && !isWrite && (reply.status < 400 || reply.body === GONE)) verbose(1, line);
    else info(line);
    return reply;
  }

  /** What flannel 0.7.1 serves. @returns `undefined` for what it does not */
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
          // Of all its handlers the only one that says so.
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

  /** What clients of ours are served besides. */
  async #whole(
    { method, query, body }: HttpRequest,
    [, , name, , what, key, ...more]: readonly string[],
    caller: Caller,
    next: string | null,
    signal: AbortSignal,
  ): Promise<{ body: Body } | undefined> {
    if (more.length > 0 || name === undefined) return undefined;
    if (what === "version") return { body: VERSION_BODY };
    const network = await this.#network(name);
    const revision = query.get("revision") ?? "";
    switch (`${method} ${what ?? ""}${key === undefined ? "" : "/key"}`) {
      case "GET ":
        return {
          body: next === null
            ? await whole.getStore(network)
            : await whole.pollStore(network, next, signal),
        };
      case "GET leases/key":
        return found(await whole.getLease(network, subnetOf(key)));
      case "PUT leases/key":
        return { body: await whole.putLease(network, subnetOf(key), body, caller) };
      case "DELETE leases/key":
        await whole.deleteLease(network, subnetOf(key), revision, caller);
        return { body: undefined };
      case "GET agents/key":
        return found(await whole.getAgent(network, addressOf(key)));
      case "PUT agents/key":
        return { body: await whole.putAgent(network, addressOf(key), body, caller) };
      case "DELETE agents/key":
        await whole.deleteAgent(network, addressOf(key), revision, caller);
        return { body: undefined };
      case "PUT config":
        await whole.putConfig(network, body, caller);
        return { body: undefined };
      case "DELETE config":
        await whole.deleteConfig(network, body, caller);
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
  return `${method} ${target.slice(0, 200)}`;
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

function addressOf(key: string | undefined): number {
  const address = parseIPv4(key ?? "");
  if (address === undefined) throw new BadRequestError("bad address");
  return address;
}

/** As flannel's server answers: 400 for what it cannot read, 500 for all else, and the bare text. */
function flannelError(error: unknown): HttpReply {
  if (error instanceof BadRequestError) return { status: 400, body: error.message };
  if (error instanceof HttpError) return { status: error.status, body: `${error.message}\n` };
  if (error instanceof WireError) {
    return { status: 400, body: `JSON decoding error: ${error.message}` };
  }
  return { status: 500, body: told(error) };
}

function wholeError(error: unknown): HttpReply {
  if (error instanceof GoneError) return { status: 404, body: error.message };
  if (error instanceof HttpError) return { status: error.status, body: `${error.message}\n` };
  const status = error instanceof BadRequestError || error instanceof WireError
    ? 400
    : error instanceof ConflictError
    ? 409
    : error instanceof StoreUnavailableError
    ? 503
    : 500;
  return { status, body: `${told(error)}\n` };
}

/** The message of an error that is written for others; of a defect no more than that it is one. */
function told(error: unknown): string {
  const kinds = [AcquireError, BadRequestError, ConfigError, StoreError, WireError];
  if (error instanceof Error && kinds.some((kind) => error instanceof kind)) return error.message;
  info(`A request failed by a defect of flanneld, please report it: ${(error as Error)?.stack}`);
  return "internal error";
}
