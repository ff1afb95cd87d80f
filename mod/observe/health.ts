/** Options of {@linkcode serveHealth}. */
export interface HealthOptions {
  /** Address to listen on. */
  readonly ip: string;
  /** TCP port; 0 for any free one. */
  readonly port: number;
  /** True once the lease is published. */
  readonly isReady: () => boolean;
  /** Ends the server. */
  readonly signal: AbortSignal;
}

/** The health endpoint cannot listen where it was told to. */
export class HealthError extends Error {
  override readonly name = "HealthError";
}

/**
 * Serves what newer flannel serves to a supervisor: `/healthz` answers 200 `flanneld is running`
 * while the process does, `/readyz` answers 200 `flanneld is ready` once subnet.env is written and
 * 503 before.
 *
 * @returns the port
 * @throws {HealthError} when the address cannot be listened on
 */
export function serveHealth({ ip, port, isReady, signal }: HealthOptions): number {
  try {
    const server = Deno.serve(
      { hostname: ip, port, signal, onListen: () => {} },
      (request) => answer(new URL(request.url).pathname, isReady()),
    );
    return server.addr.port;
  } catch (cause) {
    throw new HealthError(
      `cannot serve health on ${ip}:${port} (-healthz-ip, -healthz-port): ` +
        `${(cause as Error).message}; choose an address of this host and a free port`,
      { cause },
    );
  }
}

function answer(path: string, ready: boolean): Response {
  switch (path) {
    case "/healthz":
      return new Response("flanneld is running\n");
    case "/readyz":
      return ready
        ? new Response("flanneld is ready\n")
        : new Response("flanneld is not ready yet\n", { status: 503 });
    default:
      return new Response("not found: there are /healthz and /readyz\n", { status: 404 });
  }
}
