/**
 * HTTP/1.1 server for agents and monitors. The runtime's own servers limit neither connections nor the time
 * that a request may take to arrive.
 *
 * @module
 */
import { closeQuietly, type Connection, type ConnectionSource, writeAll } from "./connection.ts";
import { HttpConnection, type HttpHandler } from "./http_connection.ts";
import type { HttpLimits } from "./limits.ts";
import { AddressQuota } from "./quota.ts";
import { encodeReply } from "./reply.ts";

/**
 * Answers requests until the signal aborts, or the source ends. Cost of a connection and of a request: O(1). A listener
 * of each on the signal would be O(connections), since the runtime looks through all at each change.
 *
 * @throws what the source throws
 */
export async function serveHttp(
  source: ConnectionSource,
  handler: HttpHandler,
  limits: HttpLimits,
  signal: AbortSignal,
): Promise<void> {
  const server = { handler, limits, answers: new AddressQuota(limits.answersPerAddress) };
  const quota = new AddressQuota(limits.connectionsPerAddress);
  const open = new Set<Promise<void>>();
  const served = new Set<HttpConnection>();
  const close = () => {
    source.close();
    for (const connection of served) connection.close();
  };
  signal.addEventListener("abort", close, { once: true });
  try {
    if (signal.aborted) return source.close();
    for await (const connection of source) {
      // Accepted before the signal, and yielded after it.
      if (signal.aborted) {
        closeQuietly(connection);
        continue;
      }
      const address = connection.remoteAddr.hostname;
      let serving: Promise<void>;
      if (open.size >= limits.connections) {
        serving = turnAway(connection, "the server has reached its limit of connections", limits);
      } else if (!quota.take(address)) {
        const many = `${address} has ${limits.connectionsPerAddress} connections already`;
        serving = turnAway(connection, many, limits);
      } else {
        const one = new HttpConnection(connection, server);
        served.add(one);
        serving = one.serve().finally(() => {
          served.delete(one);
          quota.release(address);
        });
      }
      const done = serving.finally(() => open.delete(done));
      open.add(done);
    }
  } finally {
    signal.removeEventListener("abort", close);
    await Promise.all(open);
  }
}

async function turnAway(
  connection: Connection,
  reason: string,
  { departure }: HttpLimits,
): Promise<void> {
  // A refusal needs no handshake.
  if (connection.handshake === undefined) {
    const bytes = encodeReply({ status: 503, body: `${reason}; try again later\n` }, false);
    await writeAll(connection, bytes, departure).catch(() => {});
  }
  closeQuietly(connection);
}
