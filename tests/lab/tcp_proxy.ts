import { inNetworkNamespace } from "../../mod/sys/mod.ts";

/** Options of {@linkcode TcpProxy}. */
export interface TcpProxyOptions {
  /** Milliseconds without a byte in either direction after which a connection is cut. @default never */
  readonly idleTimeout?: number;
  /** Address to listen on. @default "127.0.0.1" */
  readonly hostname?: string;
  /** Port to listen on. @default a free one */
  readonly port?: number;
  /** Path of the network namespace to listen in; it connects from this process' own. @default that one */
  readonly netns?: string;
}

/** A pair of connections: from the client, and to the server. */
interface Pair {
  readonly client: Deno.TcpConn;
  readonly server: Deno.TcpConn;
}

/**
 * Something on the way to a server, with the faults of such things: it cuts idle connections, goes
 * away, or swallows everything in silence.
 */
export class TcpProxy implements AsyncDisposable {
  readonly #listener: Deno.TcpListener;
  readonly #target: Deno.ConnectOptions;
  readonly #idleTimeout: number;
  readonly #pairs = new Map<Pair, Promise<void>>();
  readonly #accepting: Promise<void>;
  #silent = false;
  #losesReplies = false;
  #accepted = 0;
  #cuts = 0;

  /** @param target URL of the server; only host and port count */
  constructor(target: string, options: TcpProxyOptions = {}) {
    const { hostname, port } = new URL(target);
    this.#target = { hostname, port: Number(port) };
    this.#idleTimeout = options.idleTimeout ?? Infinity;
    const { hostname: address = "127.0.0.1", port: at = 0, netns } = options;
    this.#listener = inNetworkNamespace(
      netns,
      () => Deno.listen({ hostname: address, port: at }),
    );
    this.#accepting = this.#accept();
  }

  /** Host and port to connect to. */
  get address(): string {
    return `127.0.0.1:${this.#listener.addr.port}`;
  }

  /** Port it listens on. */
  get port(): number {
    return this.#listener.addr.port;
  }

  /** Connections that were accepted. */
  get accepted(): number {
    return this.#accepted;
  }

  /** Connections that were cut for being idle. */
  get cuts(): number {
    return this.#cuts;
  }

  /**
   * Swallows what the present connections carry, as a firewall does that forgot them (`true`).
   * Connections that come after `false` work.
   */
  silence(on: boolean): void {
    this.#silent = on;
  }

  /**
   * Carries what clients send, and swallows what comes back (`true`). Connections that come after `false`
   * work.
   */
  loseReplies(on: boolean): void {
    this.#losesReplies = on;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    await this.#accepting;
    for (const pair of this.#pairs.keys()) cut(pair);
    await Promise.all(this.#pairs.values());
  }

  async #accept(): Promise<void> {
    for await (const client of this.#listener) {
      this.#accepted++;
      let server;
      try {
        server = await Deno.connect(this.#target);
      } catch {
        client.close();
        continue;
      }
      const pair = { client, server };
      this.#pairs.set(pair, this.#carry(pair).finally(() => this.#pairs.delete(pair)));
    }
  }

  async #carry(pair: Pair): Promise<void> {
    let deaf = this.#silent;
    let isMute = this.#losesReplies;
    let last = performance.now();
    const relay = async (from: Deno.Conn, to: Deno.Conn) => {
      const buffer = new Uint8Array(65536);
      for (;;) {
        const count = await from.read(buffer);
        if (count === null) return;
        last = performance.now();
        deaf ||= this.#silent;
        isMute ||= this.#losesReplies;
        if (deaf || (isMute && to === pair.client)) continue;
        for (let at = 0; at < count;) at += await to.write(buffer.subarray(at, count));
      }
    };
    const timer = this.#idleTimeout === Infinity ? undefined : setInterval(() => {
      if (performance.now() - last < this.#idleTimeout) return;
      this.#cuts++;
      clearInterval(timer);
      cut(pair);
    }, this.#idleTimeout / 10);
    // Either end's close is the end of both.
    await Promise.allSettled([
      relay(pair.client, pair.server).finally(() => cut(pair)),
      relay(pair.server, pair.client).finally(() => cut(pair)),
    ]);
    clearInterval(timer);
  }
}

function cut({ client, server }: Pair): void {
  for (const connection of [client, server]) {
    try {
      connection.close();
    } catch {
      // Closed already.
    }
  }
}
