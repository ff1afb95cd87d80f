import { warning } from "../../observe/mod.ts";
import { acceptConnections } from "../../http/accept.ts";
import type { ConnectionSource } from "../../http/connection.ts";
import { readTlsFiles } from "../../store/etcd/tls_files.ts";
import { ReloadedFiles } from "../../store/remote/reloaded_files.ts";
import type { TlsServer } from "../../sys/tls/tls_server.ts";
import type { ListenOptions } from "../core/options.ts";
import { WarningLog } from "../core/warning_log.ts";

/** The server cannot listen on the address of `-listen`. */
export class ListenError extends Error {
  override readonly name = "ListenError";
}

/**
 * Listens on the address of `-listen` or on a socket from systemd: with TLS if there is a certificate, and
 * with mandatory client certificates if there is a CA.
 *
 * @throws {ListenError} when the address, the socket or TLS cannot be used
 * @throws {ConfigError} when a TLS file cannot be used
 */
export async function openListener(options: ListenOptions): Promise<ConnectionSource> {
  const tls = await openTls(options);
  const listener = await listen(options.address);
  const closing = new AbortController();
  const state = new WarningLog();
  const report = {
    failed: ({ message }: Error) =>
      state.report(`Cannot take connections of -listen: ${message}; they wait`),
    works: () => state.clear(),
  };
  return {
    close: () => {
      closing.abort();
      listener.close();
    },
    async *[Symbol.asyncIterator]() {
      for await (const connection of acceptConnections(listener, closing.signal, report)) {
        const server = await tls?.current();
        yield server?.wrap(connection, ({ message }) => logRefused(connection, message)) ??
          connection;
      }
    },
  };
}

/** Advice for the client by OpenSSL's error of its handshake. */
const ADVICE: readonly (readonly [RegExp, string])[] = [
  [/http request|wrong version number/, "it speaks no TLS; an agent takes -remote-cafile there"],
  [/did not return a certificate/, "give it -remote-certfile and -remote-keyfile"],
  [/certificate verify failed/, "its certificate is to be one of this server's -remote-cafile"],
  [/alert (unknown ca|bad certificate)/, "its -remote-cafile is not this server's CA"],
];

/** Logs a failed handshake without the port, so that the log suppresses repeated lines. */
function logRefused({ remoteAddr }: Deno.TcpConn, reason: string): void {
  const advice = ADVICE.find(([pattern]) => pattern.test(reason))?.[1];
  warning(
    `TLS handshake with ${remoteAddr.hostname} failed: ${reason}` +
      (advice === undefined ? "" : ` (${advice})`),
    { error: reason },
  );
}

async function listen(address: ListenOptions["address"]): Promise<Deno.TcpListener> {
  try {
    if ("hostname" in address) return Deno.listen(address);
    const { inheritListener } = await import("../../sys/inherited_listener.ts");
    return inheritListener(address.descriptor, {
      pid: Deno.env.get("LISTEN_PID"),
      count: Deno.env.get("LISTEN_FDS"),
    });
  } catch (cause) {
    const { message } = cause as Error;
    throw new ListenError(
      "hostname" in address
        ? `cannot listen on ${address.hostname}:${address.port} (-listen): ${message}; choose an ` +
          "address of this host and a free port"
        : `cannot listen on fd://${address.descriptor} (-listen): ${message}`,
      { cause },
    );
  }
}

/**
 * Returns the DNS names of a server's certificate.
 *
 * @param certFile path of a PEM file that {@linkcode readTlsFiles} accepts
 */
export async function certifiedNames(certFile: string): Promise<string[]> {
  const { X509Certificate } = await import("node:crypto");
  const pem = await Deno.readTextFile(certFile);
  const names = new X509Certificate(pem).subjectAltName ?? "";
  return [...names.matchAll(/DNS:([\w.-]{1,255})/g)].map(([, name]) => name!);
}

/** Returns the server's side of TLS, which follows changes of its files; `undefined` without a certificate. */
async function openTls(
  options: ListenOptions,
): Promise<ReloadedFiles<TlsServer> | undefined> {
  const { certFile: cert, keyFile: key, caFile: ca } = options;
  // Their mistakes are reported by flag and path.
  const check = () => readTlsFiles(options, "-remote");
  if (cert === undefined || key === undefined) {
    await check();
    return undefined;
  }
  // Loads OpenSSL only when it is needed.
  const { TlsServer } = await import("../../sys/tls/tls_server.ts");
  const files = { cert, key, ...(ca === undefined ? {} : { ca }) };
  let server: TlsServer | undefined;
  return await ReloadedFiles.open([cert, key, ca], async () => {
    await check();
    try {
      server?.reload(files);
      return server ??= new TlsServer(files);
    } catch (cause) {
      throw new ListenError(
        `cannot serve with TLS (-remote-certfile, -remote-keyfile, -remote-cafile): ` +
          (cause as Error).message,
        { cause },
      );
    }
  });
}
