/**
 * A reverse proxy in front of a real server, with whatever faults a test gives it.
 *
 * @example
 * ```ts ignore
 * await using proxy = new HttpProxy(etcd.endpoint, (request, forward) =>
 *   request.method === "PUT" ? new Response(null, { status: 503 }) : forward(request));
 * ```
 */
export class HttpProxy implements AsyncDisposable {
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  readonly #stop = new AbortController();
  /** Every request that arrived. */
  readonly requests: { readonly url: URL; readonly headers: Headers }[] = [];

  /**
   * @param target URL of the server behind
   * @param handle answers a request; `forward` asks the server
   */
  constructor(
    target: string,
    handle: (
      request: Request,
      forward: (request: Request) => Promise<Response>,
    ) => Response | Promise<Response>,
  ) {
    const forward = (request: Request) => {
      const { pathname, search } = new URL(request.url);
      return fetch(target + pathname + search, {
        method: request.method,
        headers: request.headers,
        body: request.body,
        redirect: "manual",
        signal: this.#stop.signal,
      });
    };
    this.#server = Deno.serve({
      hostname: "127.0.0.1",
      port: 0,
      onListen: () => {},
      // Nobody waits for the answer of a cut connection.
      onError: () => new Response(null, { status: 502 }),
    }, (request) => {
      this.requests.push({ url: new URL(request.url), headers: new Headers(request.headers) });
      return handle(request, forward);
    });
  }

  /** URL of the proxy. */
  get endpoint(): string {
    return `http://127.0.0.1:${this.#server.addr.port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#server.shutdown();
  }
}
