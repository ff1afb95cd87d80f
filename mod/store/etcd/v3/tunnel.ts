import { lookup } from "node:dns";
import { warning } from "../../../observe/log/log.ts";
import { abortable } from "../../../async/abortable.ts";
import { Deadline } from "../../deadline.ts";
import type { TlsFiles } from "../tls_files.ts";

/** Options of {@linkcode Tunnel.open}. */
export interface TunnelOptions {
  /** Name or address, the latter without brackets. */
  readonly hostname: string;
  readonly port: number;
  /** Present for TLS. */
  readonly tls?: TlsFiles | undefined;
  /** Milliseconds until the connection must stand, TLS handshake included. */
  readonly timeout: number;
  /** Called once when the server's side has broken; gRPC's side is closed after. */
  readonly onBreak: (reason: Error) => void;
}

/** Milliseconds that gRPC has to close its side after the server's has broken. */
const LINGER = 1_000;

/**
 * A connection to a server, offered to gRPC as a Unix socket for plain HTTP/2.
 *
 * gRPC cannot be let near the network on every Deno: 2.4 turns a connection that breaks, or a TLS
 * handshake that fails, into an unhandled rejection, which ends the process, ignores client
 * certificates, and lets each call wait 40 ms for Nagle's algorithm; 2.9 refuses the server name
 * that gRPC gives for an address. Deno's own connections do all that right and report what is wrong.
 *
 * The socket lives in a directory that only this user can enter, until gRPC has connected to it.
 */
export class Tunnel implements AsyncDisposable {
  /** Path of the socket. It can be connected to once. */
  readonly path: string;
  readonly #directory: string;
  readonly #listener: Deno.UnixListener;
  readonly #upstream: Deno.Conn;
  readonly #onBreak: (reason: Error) => void;
  readonly #running: Promise<void>;
  #local: Deno.Conn | undefined;
  #received = 0;
  #reason: Error | undefined;
  #closed = false;

  private constructor(
    directory: string,
    upstream: Deno.Conn,
    onBreak: (reason: Error) => void,
  ) {
    this.#directory = directory;
    this.path = `${directory}/h2`;
    this.#listener = Deno.listen({ transport: "unix", path: this.path });
    this.#upstream = upstream;
    this.#onBreak = onBreak;
    this.#running = this.#run();
  }

  /**
   * Connects, and completes the handshake.
   *
   * @throws {Error} of Deno, when it cannot connect or rejects the server's certificate
   * @throws {DOMException} `TimeoutError`
   */
  static async open(options: TunnelOptions): Promise<Tunnel> {
    const upstream = await connect(options);
    let directory: string | undefined;
    try {
      directory = await Deno.makeTempDir({ prefix: "flanneld-" });
      return new Tunnel(directory, upstream, options.onBreak);
    } catch (error) {
      upstream.close();
      if (directory !== undefined) await Deno.remove(directory, { recursive: true });
      throw error;
    }
  }

  /** Bytes that have come from the server. */
  get received(): number {
    return this.#received;
  }

  /** Error that broke the server's side, if any. */
  get reason(): Error | undefined {
    return this.#reason;
  }

  /** Closes the server's side, and gRPC's when gRPC has done so or after a second. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#close();
    await this.#running;
  }

  async #run(): Promise<void> {
    let local: Deno.Conn;
    try {
      local = await this.#listener.accept();
    } catch (error) {
      this.#broken(error as Error);
      return;
    }
    if (this.#closed) {
      // Closed between the accept and its report here.
      local.close();
      return;
    }
    this.#local = local;
    this.#listener.close();
    this.#removeSocket();
    const outward = relay(local, this.#upstream);
    const inward = relay(this.#upstream, local, (count) => this.#received += count);
    this.#broken(
      await Promise.race([
        outward.then(() => new Error("the connection was closed"), (error) => error),
        inward.then(() => new Error("the server closed the connection"), (error) => error),
      ]),
    );
    using linger = new Deadline(LINGER, () => undefined);
    await abortable(outward.catch(() => {}).then(() => drain(local)), linger.signal)
      .catch(() => {});
    local.close();
  }

  #broken(reason: Error): void {
    if (this.#closed) return;
    this.#reason = reason;
    this.#close();
    this.#onBreak(reason);
  }

  #close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#upstream.close();
    if (this.#local === undefined) {
      this.#listener.close();
      this.#removeSocket();
    }
  }

  #removeSocket(): void {
    try {
      Deno.removeSync(this.#directory, { recursive: true });
    } catch (error) {
      warning(`Cannot remove ${this.#directory}: ${(error as Error).message}`);
    }
  }
}

async function connect(options: TunnelOptions): Promise<Deno.Conn> {
  const { timeout } = options;
  const connecting = options.tls === undefined
    ? connectPlain(options)
    : connectTls(options, options.tls);
  using deadline = new Deadline(
    timeout,
    () => new DOMException(`no connection within ${timeout / 1000} s`, "TimeoutError"),
  );
  try {
    return await abortable(connecting, deadline.signal);
  } catch (error) {
    // It may still succeed, which nobody waits for any more.
    connecting.then((connection) => connection.close(), () => {});
    throw error;
  }
}

async function connectPlain({ hostname, port }: TunnelOptions): Promise<Deno.Conn> {
  let failure: unknown;
  // Deno 2.4 tries the first address of a name only.
  for (const address of await addressesOf(hostname)) {
    try {
      const connection = await Deno.connect({ hostname: address, port });
      connection.setNoDelay();
      return connection;
    } catch (error) {
      failure ??= error;
    }
  }
  throw failure;
}

async function connectTls(
  { hostname, port }: TunnelOptions,
  tls: TlsFiles,
): Promise<Deno.Conn> {
  const connection = await Deno.connectTls({
    hostname,
    port,
    alpnProtocols: ["h2"],
    ...(tls.ca === undefined ? {} : { caCerts: [tls.ca] }),
    ...tls.client,
  });
  try {
    const { alpnProtocol } = await connection.handshake();
    if (alpnProtocol !== "h2") throw new Error("the server does not speak HTTP/2");
    return connection;
  } catch (error) {
    connection.close();
    throw error;
  }
}

async function addressesOf(hostname: string): Promise<string[]> {
  return await new Promise((resolve, reject) => {
    lookup(hostname, { all: true }, (error, found) => {
      if (error) reject(error);
      else resolve(found.map(({ address }) => address));
    });
  });
}

/** Reads until the end, for nothing. */
async function drain(from: Deno.Conn): Promise<void> {
  const buffer = new Uint8Array(4096);
  while (await from.read(buffer) !== null);
}

/**
 * Copies until the end of `from`.
 *
 * @param passed called with the bytes of each piece
 */
async function relay(
  from: Deno.Conn,
  to: Deno.Conn,
  passed?: (count: number) => void,
): Promise<void> {
  const buffer = new Uint8Array(64 * 1024);
  for (;;) {
    const count = await from.read(buffer);
    if (count === null) return;
    passed?.(count);
    for (let at = 0; at < count;) at += await to.write(buffer.subarray(at, count));
  }
}
