import { Countdown } from "../async/countdown.ts";

/** One connection, such as a `Deno.Conn`. */
export interface Connection {
  /** The other end. */
  readonly remoteAddr: { readonly hostname: string };
  /** Subject of the client certificate, known after the first read. */
  readonly subject?: string | undefined;
  /** Makes the TLS handshake; resolves to false when the other end closes the connection. */
  handshake?(): Promise<boolean>;
  read(buffer: Uint8Array): Promise<number | null>;
  write(bytes: Uint8Array): Promise<number>;
  close(): void;
}

/** Where connections come from; closing it ends the iteration. */
export interface ConnectionSource extends AsyncIterable<Connection> {
  close(): void;
}

/** Writes all bytes, or closes the connection after `ms` milliseconds. */
export async function writeAll(
  connection: Connection,
  bytes: Uint8Array,
  ms: number,
): Promise<void> {
  using _ = new Countdown(ms, () => closeQuietly(connection));
  for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
}

/** Closes a connection that may be closed already. */
export function closeQuietly(connection: Connection): void {
  try {
    connection.close();
  } catch {
    // It is closed already.
  }
}
