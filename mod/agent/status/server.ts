import { warning } from "../../observe/mod.ts";
import type { Pages } from "../../observe/serve/pages.ts";
import type { AgentOptions, StatusOptions } from "../core/options.ts";

/**
 * Serves the pages over TCP, where that is asked for. Loads the modules for it only then.
 *
 * @throws {HealthError} when the address cannot be listened on
 */
export async function serveTcp(
  { healthz: { ip, port } }: Pick<AgentOptions, "healthz">,
  pages: Pages,
  signal: AbortSignal,
): Promise<void> {
  if (port === 0) return;
  const { serveHealth } = await import("../../observe/health.ts");
  const { ownHostNames } = await import("../../server/host_names.ts");
  serveHealth({ ip, port, pages, hostNames: await ownHostNames(), signal });
}

/** Serves the pages over the unix socket. One that cannot be had is no reason to leave a host without network. */
export async function serveSocket(
  { socket }: StatusOptions,
  pages: Pages,
  signal: AbortSignal,
): Promise<void> {
  if (socket === undefined) return;
  const { serveUnix, SocketError } = await import("../../observe/serve/unix_server.ts");
  try {
    await serveUnix({ path: socket, pages, signal });
  } catch (error) {
    if (!(error instanceof SocketError)) throw error;
    warning(`No socket for flanneld status: ${error.message} (-status-socket moves it)`, {
      file: socket,
      error: error.message,
    });
  }
}
