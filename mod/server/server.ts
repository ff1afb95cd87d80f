import type { AccessOptions } from "./access.ts";
import { serveHttp } from "../http/server.ts";
import type { ConnectionSource } from "../http/connection.ts";
import type { HttpLimits } from "../http/limits.ts";
import { type NetworkSource, ServedNetworks } from "./networks.ts";
import { makeHandler } from "./router.ts";

/** Polls held at a time. Each of 5,000 agents holds one, with `-watch-networks` more. */
const POLLS = 12_000;

/** Polls held at a time by one address: an agent with 256 networks holds 257, and hosts behind one NAT more. */
export const POLLS_PER_ADDRESS = 640;

/** Limits of the server of `-listen`. */
export const DEFAULT_LIMITS: HttpLimits = {
  // Each of 5,000 agents holds up to three: its watch, its lease's watch, a call.
  connections: 16_384,
  // A call beside each poll that an address may hold, or some 300 hosts behind one NAT.
  connectionsPerAddress: 1_024,
  // All leases of 60,000 hosts, or those of 5,000 hosts twenty times.
  answersPerAddress: 2 ** 26,
  // A lease's value is read up to 8 KiB, a config is no longer than etcd's limit of 1.5 MB allows,
  // and nobody writes one of more than a few KB.
  body: 65_536,
  head: 8_192,
  arrival: 10_000,
  // Longer than this software's clients keep an idle connection, so that none sends on a closing connection.
  idle: 60_000,
  departure: 60_000,
};

/** Options of {@linkcode serveLeases}. */
export interface ServerOptions extends AccessOptions {
  /** Where connections come from, with TLS done. */
  readonly connections: ConnectionSource;
  /** The served networks. */
  readonly networks: NetworkSource;
  /** Ends the server. */
  readonly signal: AbortSignal;
  /** @default DEFAULT_LIMITS */
  readonly limits?: Partial<HttpLimits>;
  /** Polls that are held at a time. @default 12000 */
  readonly polls?: number;
  /** Polls of one address that are held at a time. @default 640 */
  readonly pollsPerAddress?: number;
}

/**
 * Serves networks to clients with `-remote` until the signal aborts.
 *
 * @throws what the source of connections throws
 */
export async function serveLeases(options: ServerOptions): Promise<void> {
  const { connections, signal, limits = {}, polls = POLLS } = options;
  const { token, hostNames, pollsPerAddress = POLLS_PER_ADDRESS } = options;
  await using networks = new ServedNetworks(options.networks);
  const handler = makeHandler(networks, { polls, pollsPerAddress, token, hostNames });
  await serveHttp(connections, handler, { ...DEFAULT_LIMITS, ...limits }, signal);
}
