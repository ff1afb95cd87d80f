import { keepServing } from "./keep_serving.ts";
import { answer, type Pages } from "./pages.ts";

/** Options of {@linkcode serveHealth}. */
export interface HealthOptions {
  /** Address to listen on. */
  readonly ip: string;
  /** TCP port; 0 for any free one. */
  readonly port: number;
  readonly pages: Pages;
  /** Ends the server. */
  readonly signal: AbortSignal;
}

/** The health endpoint cannot listen where it was told to. */
export class HealthError extends Error {
  override readonly name = "HealthError";
}

/**
 * Serves the agent's pages over TCP.
 *
 * @returns the port
 * @throws {HealthError} when the address cannot be listened on
 */
export function serveHealth({ ip, port, pages, signal }: HealthOptions): number {
  const localOnly = ip === "::1" || ip.startsWith("127.");
  const listen = (port: number) =>
    Deno.serve(
      { hostname: ip, port, signal, onListen: () => {} },
      (request) => answer(pages, request, { localOnly }),
    );
  try {
    const server = listen(port);
    const { port: bound } = server.addr;
    keepServing(`health on ${ip}:${bound}`, server, () => listen(bound), signal);
    return bound;
  } catch (cause) {
    throw new HealthError(
      `cannot serve health on ${ip}:${port} (-healthz-ip, -healthz-port): ` +
        `${(cause as Error).message}; choose an address of this host and a free port`,
      { cause },
    );
  }
}
