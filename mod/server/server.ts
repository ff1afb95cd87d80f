import type { AccessOptions } from "./access.ts";
import { type ConnectionSource, DEFAULT_LIMITS, type HttpLimits, serveHttp } from "./http.ts";
import { type NetworkSource, ServedNetworks } from "./networks.ts";
import { makeHandler } from "./router.ts";

/** Polls held at a time. Each of 5,000 agents holds one, a flannel two. */
const POLLS = 12_000;

/** Options of {@linkcode serveLeases}. */
export interface ServerOptions extends AccessOptions {
  /** Where connections come from, with TLS done. */
  readonly connections: ConnectionSource;
  /** What is served. */
  readonly networks: NetworkSource;
  /** Ends the server. */
  readonly signal: AbortSignal;
  /** @default DEFAULT_LIMITS */
  readonly limits?: Partial<HttpLimits>;
  /** Polls that are held at a time. @default 12000 */
  readonly polls?: number;
  /** Serve only what flannel 0.7.1 serves. @default false */
  readonly plain?: boolean;
}

/**
 * Serves networks to `flanneld -remote`, of flannel 0.7.1 and ours, until the signal aborts.
 *
 * @throws what the source of connections throws
 */
export async function serveLeases(options: ServerOptions): Promise<void> {
  const { connections, signal, limits = {}, polls = POLLS, plain = false } = options;
  const { token, hostNames } = options;
  await using networks = new ServedNetworks(options.networks);
  const handler = makeHandler(networks, { polls, plain, token, hostNames });
  await serveHttp(connections, handler, { ...DEFAULT_LIMITS, ...limits }, signal);
}
