import { serve, type ServePlace } from "./serve.ts";

/** A Route resource as it was inserted, with what the service adds. */
export interface FakeRoute {
  readonly kind: "compute#route";
  readonly id: string;
  readonly name: string;
  readonly network: string;
  readonly destRange: string;
  readonly priority: number;
  readonly nextHopInstance: string;
  readonly selfLink: string;
}

interface FakeOperation {
  readonly name: string;
  /** How often it is yet to be shown as not done. */
  pending: number;
  /** Completes the operation; returns its error. */
  readonly finish: () => { code: string; message: string; status: number } | undefined;
  outcome?: { code: string; message: string; status: number } | undefined;
  isDone: boolean;
}

/** A failure to answer with. */
export interface GceFault {
  /** `routes.insert`; every call when absent. */
  readonly verbs?: readonly string[];
  readonly status: number;
  readonly reason: string;
  readonly message: string;
  times: number;
}

/** An instance of the fake. */
export interface FakeInstance {
  readonly name: string;
  readonly ip: string;
  readonly network: string;
  canIpForward: boolean;
}

export const PROJECT = "sample-project";
export const ZONE = "europe-west1-b";
const PREFIX = `/compute/v1/projects/${PROJECT}/`;

/** The service's own address in URLs of resources, wherever it is reached. */
const BASE = `https://www.googleapis.com/compute/v1/projects/${PROJECT}`;

/**
 * Compute Engine, after its public REST reference: global routes (insert, get, list, delete), zonal
 * instances (get) and global operations (get), which are not done at once; and errors in its form.
 */
export class GceFake implements AsyncDisposable {
  /** `http://127.0.0.1:41234/compute/v1/` */
  readonly endpoint: string;
  readonly routes = new Map<string, FakeRoute>();
  readonly instances = new Map<string, FakeInstance>();
  /** Calls that came: `routes.insert flannel-10-20-1-0-24`. */
  readonly calls: string[] = [];
  /** Access tokens that are good. */
  readonly tokens = new Set<string>();
  /** How often an operation is seen before it is done. */
  slowness = 2;
  /** Routes that a project may have. */
  quota = 200;
  /** Routes on a page; the service has 500 at most. */
  pageSize = 500;
  faults: GceFault[] = [];
  readonly #operations = new Map<string, FakeOperation>();
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  #ids = 1000;

  constructor(place: ServePlace = {}) {
    this.#server = serve((request) => this.#answer(request), place);
    const { hostname, port } = this.#server.addr;
    this.endpoint = `http://${hostname}:${port}/compute/v1/`;
  }

  /** Puts a route there, as somebody else's call would. */
  put(
    { name, destRange, instance, network = "default", priority = 1000 }: {
      readonly name: string;
      readonly destRange: string;
      readonly instance: string;
      readonly network?: string;
      readonly priority?: number;
    },
  ): void {
    this.#insert({
      ...{ name, destRange, priority, network: `${BASE}/global/networks/${network}` },
      nextHopInstance: `${BASE}/zones/${ZONE}/instances/${instance}`,
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.shutdown();
  }

  async #answer(request: Request): Promise<Response> {
    const { pathname, searchParams } = new URL(request.url);
    if (!pathname.startsWith(PREFIX)) return failure(404, "notFound", `no ${pathname}`);
    const path = pathname.slice(PREFIX.length).split("/");
    const [scope, , name] = path;
    const resource = scope === "zones" ? path[2] : path[1];
    const verb = `${resource === "operations" ? "globalOperations" : resource}.${
      verbOf(request.method, scope === "zones" ? path[3] : name)
    }`;
    const body = request.method === "POST" ? await request.json() : undefined;
    this.calls.push(`${verb}${body?.name ?? name ? ` ${body?.name ?? name}` : ""}`);
    const token = /^Bearer (.+)$/.exec(request.headers.get("authorization") ?? "")?.[1];
    if (token === undefined || !this.tokens.has(token)) {
      return failure(401, "authError", "Request had invalid authentication credentials.");
    }
    const fault = this.faults.find(({ verbs, times }) =>
      times > 0 && (verbs?.includes(verb) ?? true)
    );
    if (fault !== undefined) {
      fault.times--;
      return failure(fault.status, fault.reason, fault.message);
    }
    switch (verb) {
      case "routes.list":
        return this.#list(searchParams);
      case "routes.get": {
        const route = this.routes.get(name!);
        return route === undefined ? this.#missing(name!) : Response.json(this.#shown(route));
      }
      case "routes.insert":
        return this.#beginInsert(body);
      case "routes.delete":
        if (!this.routes.has(name!)) return this.#missing(name!);
        return this.#begin(() => (this.routes.delete(name!), undefined));
      case "globalOperations.get":
        return this.#operation(name!);
      case "instances.get":
        return this.#instance(path[3]!);
      default:
        return failure(404, "notFound", `no ${verb}`);
    }
  }

  #beginInsert(
    body: Omit<FakeRoute, "kind" | "id" | "selfLink">,
  ): Response {
    if (!/^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$/.test(body.name)) {
      return failure(400, "invalid", `Invalid value for field 'resource.name': '${body.name}'.`);
    }
    if (!/^\d+\.\d+\.\d+\.\d+\/\d+$/.test(body.destRange) || body.priority < 0) {
      return failure(400, "invalid", "Invalid value for field 'resource.destRange'.");
    }
    if (this.routes.has(body.name)) {
      const path = `projects/${PROJECT}/global/routes/${body.name}`;
      return failure(409, "alreadyExists", `The resource '${path}' already exists`);
    }
    return this.#begin(() => {
      if (this.routes.size >= this.quota) {
        return {
          code: "QUOTA_EXCEEDED",
          message: `Quota 'ROUTES' exceeded.  Limit: ${this.quota}.0 globally.`,
          status: 403,
        };
      }
      this.#insert(body);
      return undefined;
    });
  }

  #begin(finish: FakeOperation["finish"]): Response {
    const operation: FakeOperation = {
      ...{ name: `operation-${this.#ids++}`, pending: this.slowness, finish, isDone: false },
    };
    this.#operations.set(operation.name, operation);
    return Response.json(shownOperation(operation));
  }

  #operation(name: string): Response {
    const operation = this.#operations.get(name);
    if (operation === undefined) return this.#missing(name);
    if (operation.pending > 0) operation.pending--;
    else if (!operation.isDone) {
      operation.outcome = operation.finish();
      operation.isDone = true;
    }
    return Response.json(shownOperation(operation));
  }

  #insert(body: Omit<FakeRoute, "kind" | "id" | "selfLink">): void {
    this.routes.set(body.name, {
      ...body,
      kind: "compute#route",
      id: String(this.#ids++),
      selfLink: `${BASE}/global/routes/${body.name}`,
    });
  }

  #list(query: URLSearchParams): Response {
    const all = [...this.routes.values()];
    const size = Math.min(Number(query.get("maxResults") ?? 500), this.pageSize);
    const start = Number(query.get("pageToken") ?? 0);
    const end = start + size;
    return Response.json({
      kind: "compute#routeList",
      items: all.slice(start, end).map((route) => this.#shown(route)),
      ...(end < all.length ? { nextPageToken: String(end) } : {}),
    });
  }

  #shown(route: FakeRoute) {
    const instance = this.instances.get(route.nextHopInstance.split("/").at(-1)!);
    const code = instance === undefined
      ? "NEXT_HOP_INSTANCE_NOT_FOUND"
      : instance.canIpForward
      ? undefined
      : "NEXT_HOP_CANNOT_IP_FORWARD";
    return { ...route, ...(code === undefined ? {} : { warnings: [{ code, message: code }] }) };
  }

  #instance(name: string): Response {
    const instance = this.instances.get(name);
    if (instance === undefined) return this.#missing(name);
    return Response.json({
      ...{ kind: "compute#instance", name, status: "RUNNING" },
      canIpForward: instance.canIpForward,
      networkInterfaces: [{
        networkIP: instance.ip,
        network: `${BASE}/global/networks/${instance.network}`,
      }],
    });
  }

  #missing(name: string): Response {
    return failure(404, "notFound", `The resource '${name}' was not found`);
  }
}

function verbOf(method: string, name: string | undefined): string {
  if (method === "POST") return "insert";
  if (method === "DELETE") return "delete";
  return name === undefined ? "list" : "get";
}

function shownOperation({ name, isDone, pending, outcome }: FakeOperation) {
  return {
    ...{ kind: "compute#operation", name },
    status: isDone ? "DONE" : pending > 1 ? "PENDING" : "RUNNING",
    ...(outcome === undefined ? {} : {
      httpErrorStatusCode: outcome.status,
      error: { errors: [{ code: outcome.code, message: outcome.message }] },
    }),
  };
}

function failure(code: number, reason: string, message: string): Response {
  const errors = [{ message, domain: "global", reason }];
  return Response.json({ error: { code, message, errors } }, { status: code });
}
