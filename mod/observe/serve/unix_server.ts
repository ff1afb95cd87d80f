import { keepServing } from "./keep_serving.ts";
import { answer, type Pages } from "./pages.ts";

/** Owner may connect (connect(2) asks for write permission), nobody else. */
const MODE = 0o600;

/** Options of {@linkcode serveUnix}. */
export interface UnixServerOptions {
  /** Path of the socket, up to 107 bytes (unix(7)). */
  readonly path: string;
  readonly pages: Pages;
  /** Ends the server and removes the socket. */
  readonly signal: AbortSignal;
}

/** The socket cannot be served. The message is one line. */
export class SocketError extends Error {
  override readonly name = "SocketError";
}

/**
 * Serves pages over a unix socket that its owner alone can connect to. One that a dead process left is
 * replaced.
 *
 * @throws {SocketError} when another process serves there, the path is taken by something else, or the
 * directory does not allow it
 */
export async function serveUnix(options: UnixServerOptions): Promise<void> {
  const { path, signal } = options;
  const server = await listen(options);
  keepServing(`on ${path}`, server, () => listen(options), signal);
  signal.addEventListener("abort", () => {
    try {
      Deno.removeSync(path);
    } catch {
      // It has been removed already.
    }
  }, { once: true });
}

async function listen({ path, pages, signal }: UnixServerOptions): Promise<Deno.HttpServer> {
  if (await removeStaleSocket(path)) {
    throw new SocketError(`cannot serve on ${path}: another process does`);
  }
  // The socket must belong to its owner alone from its first moment on.
  const mask = Deno.umask(0o777 & ~MODE);
  try {
    return Deno.serve({ path, signal, onListen: () => {} }, (request) => answer(pages, request));
  } catch (cause) {
    throw new SocketError(`cannot serve on ${path}: ${(cause as Error).message}`, { cause });
  } finally {
    Deno.umask(mask);
  }
}

/**
 * Removes a socket that a dead process left.
 *
 * @returns true when a process serves there
 * @throws {SocketError} when it is no socket, or this process may not find out
 */
export async function removeStaleSocket(path: string): Promise<boolean> {
  try {
    if (!(await Deno.lstat(path)).isSocket) {
      throw new SocketError(`cannot serve on ${path}: it is there, and no socket`);
    }
    (await Deno.connect({ transport: "unix", path })).close();
    return true;
  } catch (cause) {
    if (cause instanceof SocketError) throw cause;
    if (cause instanceof Deno.errors.NotFound) return false;
    if (!(cause instanceof Deno.errors.ConnectionRefused)) {
      throw new SocketError(`cannot serve on ${path}: ${(cause as Error).message}`, { cause });
    }
  }
  await Deno.remove(path);
  return false;
}
