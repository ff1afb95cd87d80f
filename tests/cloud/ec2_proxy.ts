import { serve, type ServePlace } from "./serve.ts";

/** An answer to give in place of the server's. */
interface Fault {
  /** Actions it is for; all when absent. */
  readonly actions?: readonly string[];
  readonly status: number;
  readonly code: string;
  readonly message: string;
  /** How many calls are left for it. */
  times: number;
}

/**
 * Something before an EC2 that fails as the real one does: throttles, breaks, denies; and shows routes
 * to interfaces that are gone as blackholes, which moto does not.
 */
export class Ec2Proxy implements AsyncDisposable {
  /** `http://127.0.0.1:41234` */
  readonly endpoint: string;
  /** Actions that came, with the access key of each. */
  readonly calls: { readonly action: string; readonly key: string }[] = [];
  /** Interfaces that are gone. */
  readonly gone = new Set<string>();
  readonly #target: string;
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  #faults: Fault[] = [];

  /** @param target `http://127.0.0.1:5000` */
  constructor(target: string, place: ServePlace = {}) {
    this.#target = target;
    this.#server = serve((request) => this.#answer(request), place);
    const { hostname, port } = this.#server.addr;
    this.endpoint = `http://${hostname}:${port}`;
  }

  /** Throttles the next calls. */
  throttle(times: number): void {
    this.#faults.push({
      ...{ times, status: 503, code: "RequestLimitExceeded" },
      message: "Request limit exceeded.",
    });
  }

  /** Breaks at the next calls. */
  break(times: number): void {
    this.#faults.push({
      ...{ times, status: 500, code: "InternalError" },
      message: "An internal error has occurred",
    });
  }

  /** Answers the next calls with expired credentials. */
  expire(times: number): void {
    this.#faults.push({
      ...{ times, status: 400, code: "RequestExpired", message: "Request has expired." },
    });
  }

  /** Denies actions until {@linkcode Ec2Proxy.heal}. */
  deny(...actions: readonly string[]): void {
    this.#faults.push({
      ...{ actions, times: Infinity, status: 403, code: "UnauthorizedOperation" },
      message: "You are not authorized to perform this operation. Encoded authorization failure " +
        `message: ${"Aa0-_".repeat(160)}`,
    });
  }

  /** From here on a table is full. */
  fill(): void {
    this.#faults.push({
      ...{ actions: ["CreateRoute"], times: Infinity, status: 400, code: "RouteLimitExceeded" },
      message: "The maximum number of routes has been reached.",
    });
  }

  /** Ends all faults. */
  heal(): void {
    this.#faults = [];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.shutdown();
  }

  async #answer(request: Request): Promise<Response> {
    const body = await request.text();
    const action = new URLSearchParams(body).get("Action") ?? "";
    const authorization = request.headers.get("authorization") ?? "";
    this.calls.push({ action, key: /Credential=([^/]*)/.exec(authorization)?.[1] ?? "" });
    const fault = this.#faults.find(({ actions, times }) =>
      times > 0 && (actions?.includes(action) ?? true)
    );
    if (fault !== undefined) {
      fault.times--;
      return new Response(
        `<?xml version="1.0" encoding="UTF-8"?>\n<Response><Errors><Error><Code>${fault.code}</Code>` +
          `<Message>${fault.message}</Message></Error></Errors><RequestID>r-1</RequestID></Response>`,
        { status: fault.status, headers: { "content-type": "text/xml;charset=UTF-8" } },
      );
    }
    const headers = new Headers(request.headers);
    headers.delete("host");
    headers.delete("content-length");
    const response = await fetch(this.#target, { method: request.method, headers, body });
    const text = await response.text();
    return new Response(action === "DescribeRouteTables" ? this.#blacken(text) : text, {
      status: response.status,
      headers: { "content-type": response.headers.get("content-type") ?? "text/xml" },
    });
  }

  #blacken(text: string): string {
    return text.replace(
      /(<networkInterfaceId>(eni-[0-9a-f]+)<\/networkInterfaceId>[^]*?<state>)active/g,
      (whole, before: string, id: string) => this.gone.has(id) ? `${before}blackhole` : whole,
    );
  }
}
