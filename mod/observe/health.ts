import { acceptConnections } from "../http/accept.ts";
import type { HttpReply } from "../http/reply.ts";
import { serveHttp } from "../http/server.ts";
import type { ConnectionSource } from "../http/connection.ts";
import type { HttpLimits } from "../http/limits.ts";
import type { HttpRequest } from "../http/request_reader.ts";
import { warning } from "./log/log.ts";
import { answer, type Pages } from "./serve/pages.ts";

/** Options of {@linkcode serveHealth}. */
export interface HealthOptions {
  /** Address to listen on. */
  readonly ip: string;
  /** TCP port; 0 for any free one. */
  readonly port: number;
  readonly pages: Pages;
  /** Names of this host in lower case: most pages are served under these and under addresses only. */
  readonly hostNames: ReadonlySet<string>;
  /** Ends the server. */
  readonly signal: AbortSignal;
}

/** Limits of the health port. */
export const HEALTH_LIMITS: HttpLimits = {
  // A browser opens six, a monitor one or two.
  connections: 128,
  connectionsPerAddress: 32,
  // The status of 60,000 hosts, for two at a time.
  answersPerAddress: 2 ** 26,
  // There is nothing to send.
  body: 0,
  // Browsers also send cookies of the host's other ports.
  head: 16_384,
  arrival: 10_000,
  idle: 30_000,
  departure: 30_000,
};

/** The health endpoint cannot listen on its address. */
export class HealthError extends Error {
  override readonly name = "HealthError";
}

/**
 * Serves the agent's pages over TCP.
 *
 * @returns the port
 * @throws {HealthError} when the address cannot be listened on
 */
export function serveHealth({ ip, port, pages, hostNames, signal }: HealthOptions): number {
  let listener: Deno.TcpListener;
  try {
    listener = Deno.listen({ hostname: ip, port });
  } catch (cause) {
    throw new HealthError(
      `cannot serve health on ${ip}:${port} (-healthz-ip, -healthz-port): ` +
        `${(cause as Error).message}; choose an address of this host and a free port`,
      { cause },
    );
  }
  const bound = listener.addr.port;
  const place = `${ip.includes(":") ? `[${ip}]` : ip}:${bound}`;
  const source = connectionsOf(listener, place, signal);
  const handler = (request: HttpRequest) => reply(pages, request, { place, hostNames });
  serveHttp(source, handler, HEALTH_LIMITS, signal).catch((error: Error) => {
    warning(`Cannot serve health on ${place} any more: ${error.message}`);
  });
  return bound;
}

function connectionsOf(
  listener: Deno.TcpListener,
  place: string,
  signal: AbortSignal,
): ConnectionSource {
  let isReported = false;
  const connections = acceptConnections(listener, signal, {
    failed: ({ message }) => {
      if (!isReported) warning(`Cannot serve health on ${place}: ${message}; connections wait`);
      isReported = true;
    },
    works: () => isReported = false,
  });
  return { close: () => listener.close(), [Symbol.asyncIterator]: () => connections };
}

async function reply(
  pages: Pages,
  { method, authority, path, query }: HttpRequest,
  { place, hostNames }: Pick<HealthOptions, "hostNames"> & { readonly place: string },
): Promise<HttpReply> {
  const search = query.size === 0 ? "" : `?${query}`;
  const url = `http://${authority ?? place}${path}${search}`;
  // The HTTP server omits the body of an answer to HEAD.
  const request = { method: method === "HEAD" ? "GET" : method, url };
  const response = await answer(pages, request, { hostNames });
  const headers = new Headers(response.headers);
  const contentType = headers.get("content-type") ?? "text/plain; charset=utf-8";
  headers.delete("content-type");
  return { status: response.status, contentType, headers, body: await response.text() };
}
