import { dirname } from "node:path/posix";
import { acceptConnections } from "../http/accept.ts";
import type { Connection } from "../http/connection.ts";
import type { HttpLimits } from "../http/limits.ts";
import { serveHttp } from "../http/server.ts";
import { info, warning } from "../observe/mod.ts";
import { removeStaleSocket, SocketError } from "../observe/serve/unix_server.ts";
import { counted } from "../text/mod.ts";
import { Netlink } from "../sys/mod.ts";
import { DockerLinks } from "./kernel.ts";
import { HostLeases, type LeasedNetwork } from "./leases.ts";
import { DockerPlugin } from "./plugin.ts";
import { SOCKET } from "./protocol/reply.ts";

/** Options of {@linkcode serveDockerPlugin}. */
export interface DockerPluginOptions {
  /** Returns the networks that this host has a lease of, and that are up. */
  readonly leases: () => readonly LeasedNetwork[];
  /** Ends the server and removes the socket. */
  readonly signal: AbortSignal;
  /** @default {@linkcode SOCKET} */
  readonly socket?: string;
  /** Milliseconds that a call waits for a lease, for instance after a boot. @default 5_000 */
  readonly timeoutMs?: number;
}

/** dockerd sends all its calls over one connection or two. */
const LIMITS: HttpLimits = {
  ...{ connections: 64, connectionsPerAddress: 64, answersPerAddress: 1 << 20 },
  ...{ body: 1 << 20, head: 16_384, arrival: 10_000, departure: 10_000 },
  // dockerd repeats a call whose connection was closed, and leaves its body out.
  idle: 24 * 3_600_000,
};

/** Milliseconds between two comparisons of the leases with those before. */
const CHECK_MS = 2_000;

/**
 * Serves Docker's network plugin on a unix socket until the signal aborts.
 *
 * @returns once the socket can be connected to
 * @throws {SocketError} when the socket cannot be served
 * @throws {SysError} when netlink cannot be opened
 */
export async function serveDockerPlugin(options: DockerPluginOptions): Promise<void> {
  const { signal, socket = SOCKET, timeoutMs = 5_000 } = options;
  const listener = await listen(socket);
  const netlink = Netlink.open();
  const links = new DockerLinks(netlink);
  const stale = links.removeStaleEndpoints();
  if (stale > 0) {
    info(`Removed ${counted(stale, "interface")} of containers that Docker has removed`);
  }
  const leases = new HostLeases(options.leases, timeoutMs, signal);
  const plugin = new DockerPlugin(leases, links);
  followLeases(leases, links, signal);
  const serve = async () => {
    try {
      const handler = (request: Parameters<DockerPlugin["answer"]>[0]) => plugin.answer(request);
      await serveHttp(new UnixSource(listener, signal, socket), handler, LIMITS, signal);
    } catch (error) {
      warning(`Cannot serve Docker any more on ${socket}: ${(error as Error).message}`);
    } finally {
      netlink[Symbol.dispose]();
      await Deno.remove(socket).catch(() => {});
    }
  };
  serve();
  info(`Serving Docker's network plugin on ${socket}`);
}

/** Removes the gateways of a former lease soon after a change, also where no container ends or starts. */
function followLeases(leases: HostLeases, links: DockerLinks, signal: AbortSignal): void {
  let before = "";
  const timer = setInterval(() => {
    const subnets = leases.present.map(({ subnet }) => subnet);
    const now = subnets.join(" ");
    if (now === before) return;
    before = now;
    links.removeFormerGateways(subnets);
  }, CHECK_MS);
  signal.addEventListener("abort", () => clearInterval(timer), { once: true });
}

/** Connections of a unix socket, which all come from this host. */
class UnixSource {
  readonly #listener: Deno.UnixListener;
  readonly #signal: AbortSignal;
  readonly #path: string;

  constructor(listener: Deno.UnixListener, signal: AbortSignal, path: string) {
    this.#listener = listener;
    this.#signal = signal;
    this.#path = path;
  }

  close(): void {
    this.#listener.close();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Connection, void> {
    const report = {
      failed: (error: Error) => warning(`Cannot take Docker's connection: ${error.message}`),
      works: () => {},
    };
    for await (const one of acceptConnections(this.#listener, this.#signal, report)) {
      yield {
        remoteAddr: { hostname: this.#path },
        read: (buffer) => one.read(buffer),
        write: (bytes) => one.write(bytes),
        close: () => one.close(),
      };
    }
  }
}

async function listen(path: string): Promise<Deno.UnixListener> {
  try {
    // dockerd, which may start later, makes the upper one for root alone, too.
    await Deno.mkdir(dirname(path), { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw new SocketError(`cannot serve on ${path}: ${(cause as Error).message}`, { cause });
  }
  if (await removeStaleSocket(path)) {
    throw new SocketError(`cannot serve on ${path}: another process does`);
  }
  // The socket must belong to root alone from its first moment on.
  const mask = Deno.umask(0o177);
  try {
    return Deno.listen({ transport: "unix", path });
  } catch (cause) {
    throw new SocketError(`cannot serve on ${path}: ${(cause as Error).message}`, { cause });
  } finally {
    Deno.umask(mask);
  }
}
