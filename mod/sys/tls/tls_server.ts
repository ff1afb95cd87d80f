/**
 * TLS for servers, by the host's OpenSSL: Deno's own demands no client certificates (2.4 takes
 * `requestCert` and lets everybody in), and cannot be put on a socket that was passed.
 *
 * Nothing here touches a descriptor: OpenSSL reads and writes memory (BIO_s_mem(7)), and the bytes go by
 * the connection that is wrapped.
 *
 * @module
 */
import { cString } from "../ffi/libc.ts";
import { lastError, openSsl, TlsError } from "./openssl.ts";
import { type PlainConnection, type SecureConnection, TlsConnection } from "./tls_connection.ts";

/** Of openssl/ssl.h: SSL_FILETYPE_PEM, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT. */
const FILETYPE_PEM = 1;
const VERIFY_PEER_AND_FAIL = 0x01 | 0x02;
/** SSL_CTRL_SET_MIN_PROTO_VERSION and TLS1_2_VERSION: earlier ones are deprecated (RFC 8996). */
const SET_MIN_PROTO_VERSION = 123;
const TLS1_2 = 0x0303;
/** SSL_OP_NO_RENEGOTIATION: a client could request handshakes, which cost the server most, without end. */
const OP_NO_RENEGOTIATION = 1n << 30n;
/** SSL_CTRL_MODE and SSL_MODE_RELEASE_BUFFERS: 34 KB less for a connection on which nothing is under way. */
const CTRL_MODE = 33;
const MODE_RELEASE_BUFFERS = 0x10n;
/** SSL_CTRL_SET_SESS_CACHE_MODE: off. A session is in the client's ticket, not here, 20,000 of them. */
const SET_SESSION_CACHE_MODE = 44;
/** SSL_CTRL_SET_MAX_CERT_LIST: bytes of a certificate chain, which is kept before it is verified. */
const SET_MAX_CERT_LIST = 51;
const MAX_CERT_LIST_BYTES = 32_768n;
/** Paths of PEM files. */
export interface TlsServerFiles {
  /** Certificate, with the chain up to the CA. */
  readonly cert: string;
  readonly key: string;
  /** Lets in only holders of a certificate that this CA signed. */
  readonly ca?: string;
}

/** A server's side of TLS: certificate, key, and whom it lets in. */
export class TlsServer implements Disposable {
  readonly #ssl = openSsl();
  #context: Deno.PointerObject | undefined;

  /** @throws {TlsError} naming the file that cannot be used */
  constructor(files: TlsServerFiles) {
    this.#context = this.#makeContext(files);
  }

  /**
   * Uses other files for the handshakes from now on. Established connections stay.
   *
   * @throws {TlsError} naming the file that cannot be used; the former ones then stay in use
   */
  reload(files: TlsServerFiles): void {
    const context = this.#makeContext(files);
    // Each connection has a reference of its own to the former context.
    this[Symbol.dispose]();
    this.#context = context;
  }

  #makeContext({ cert, key, ca }: TlsServerFiles): Deno.PointerObject {
    const ssl = this.#ssl;
    ssl.ERR_clear_error();
    const context = ssl.SSL_CTX_new(ssl.TLS_server_method());
    if (context === null) throw new TlsError(`SSL_CTX_new: ${this.#lastError()}`);
    ssl.SSL_CTX_ctrl(context, SET_MIN_PROTO_VERSION, BigInt(TLS1_2), null);
    ssl.SSL_CTX_set_options(context, OP_NO_RENEGOTIATION);
    ssl.SSL_CTX_ctrl(context, CTRL_MODE, MODE_RELEASE_BUFFERS, null);
    ssl.SSL_CTX_ctrl(context, SET_SESSION_CACHE_MODE, 0n, null);
    ssl.SSL_CTX_ctrl(context, SET_MAX_CERT_LIST, MAX_CERT_LIST_BYTES, null);
    const check = (result: number, path: string) => {
      if (result === 1) return;
      const reason = this.#lastError();
      ssl.SSL_CTX_free(context);
      throw new TlsError(`${path} cannot be used: ${reason}`);
    };
    check(ssl.SSL_CTX_use_certificate_chain_file(context, cString(cert)), cert);
    check(ssl.SSL_CTX_use_PrivateKey_file(context, cString(key), FILETYPE_PEM), key);
    check(ssl.SSL_CTX_check_private_key(context), key);
    // Sessions are resumed within this server only; OpenSSL asks for a name where it verifies.
    const name = cString("flanneld");
    ssl.SSL_CTX_set_session_id_context(context, name, name.length);
    if (ca === undefined) return context;
    check(ssl.SSL_CTX_load_verify_locations(context, cString(ca), null), ca);
    ssl.SSL_CTX_set_client_CA_list(context, ssl.SSL_load_client_CA_file(cString(ca)));
    ssl.SSL_CTX_set_verify(context, VERIFY_PEER_AND_FAIL, null);
    return context;
  }

  /**
   * Wraps a connection; the handshake comes with the first read.
   *
   * @param onRefused called when the handshake has failed, before the read is rejected with the same error;
   * not when the other side just closes the connection, as a port scanner does
   */
  wrap(
    connection: PlainConnection,
    onRefused: (error: TlsError) => void = () => {},
  ): SecureConnection {
    const context = () => {
      if (this.#context === undefined) throw new TlsError("the server is closed");
      return this.#context;
    };
    return new TlsConnection(this.#ssl, context, connection, onRefused);
  }

  /** Keeps established connections; a connection whose handshake has not begun fails. */
  [Symbol.dispose](): void {
    if (this.#context !== undefined) this.#ssl.SSL_CTX_free(this.#context);
    this.#context = undefined;
  }

  #lastError(): string {
    return lastError(this.#ssl);
  }
}
