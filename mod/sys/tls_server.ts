/**
 * TLS for servers, by the host's OpenSSL: Deno's own demands no client certificates (2.4 takes
 * `requestCert` and lets everybody in), and cannot be put on a socket that was passed.
 *
 * Nothing here touches a descriptor: OpenSSL reads and writes memory (BIO_s_mem(7)), and the bytes go by
 * the connection that is wrapped.
 *
 * @module
 */
import { cString } from "./libc.ts";

/** Names of the library, newest first: 3.x, 1.1 (RHEL 8, Debian 10), 1.0.2 (not: another interface). */
const LIBRARIES = ["libssl.so.3", "libssl.so.1.1"];

/** Of openssl/ssl.h: SSL_FILETYPE_PEM, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT. */
const FILETYPE_PEM = 1;
const VERIFY_PEER_AND_FAIL = 0x01 | 0x02;
/** SSL_CTRL_SET_MIN_PROTO_VERSION and TLS1_2_VERSION: flannel 0.7.1, of 2017, speaks no later one. */
const SET_MIN_PROTO_VERSION = 123;
const TLS1_2 = 0x0303;
/** SSL_OP_NO_RENEGOTIATION: a client could have handshakes made, which cost the server most, for ever. */
const OP_NO_RENEGOTIATION = 1n << 30n;
/** SSL_CTRL_MODE and SSL_MODE_RELEASE_BUFFERS: 34 KB less for a connection on which nothing is under way. */
const CTRL_MODE = 33;
const MODE_RELEASE_BUFFERS = 0x10n;
/** SSL_CTRL_SET_SESS_CACHE_MODE: off. A session is in the client's ticket, not here, 20,000 of them. */
const SET_SESSION_CACHE_MODE = 44;
/** SSL_CTRL_SET_MAX_CERT_LIST: bytes of a certificate chain, which is kept before it is verified. */
const SET_MAX_CERT_LIST = 51;
const MAX_CERT_LIST_BYTES = 32_768n;
/** SSL_get_error(3). */
const ERROR_SSL = 1;
const ERROR_WANT_READ = 2;
const ERROR_SYSCALL = 5;
const ERROR_ZERO_RETURN = 6;
/** X509_V_OK of openssl/x509_vfy.h. */
const X509_OK = 0n;
/** BIO_CTRL_PENDING of openssl/bio.h. */
const CTRL_PENDING = 10;

const SYMBOLS = {
  TLS_server_method: { parameters: [], result: "pointer" },
  SSL_CTX_new: { parameters: ["pointer" /* method */], result: "pointer" },
  SSL_CTX_free: { parameters: ["pointer" /* ctx */], result: "void" },
  SSL_CTX_ctrl: {
    parameters: ["pointer", /* ctx */ "i32", /* cmd */ "i64", /* larg */ "pointer" /* parg */],
    result: "i64",
  },
  // `uint64_t` in 3.x and `unsigned long` in 1.1, which are one on the processors that this runs on.
  SSL_CTX_set_options: { parameters: ["pointer", /* ctx */ "u64" /* options */], result: "u64" },
  SSL_CTX_use_certificate_chain_file: {
    parameters: ["pointer", /* ctx */ "buffer" /* file */],
    result: "i32",
  },
  SSL_CTX_use_PrivateKey_file: {
    parameters: ["pointer", /* ctx */ "buffer", /* file */ "i32" /* type */],
    result: "i32",
  },
  SSL_CTX_check_private_key: { parameters: ["pointer" /* ctx */], result: "i32" },
  SSL_CTX_load_verify_locations: {
    parameters: ["pointer", /* ctx */ "buffer", /* CAfile */ "pointer" /* CApath */],
    result: "i32",
  },
  SSL_load_client_CA_file: { parameters: ["buffer" /* file */], result: "pointer" },
  SSL_CTX_set_client_CA_list: {
    parameters: ["pointer", /* ctx */ "pointer" /* list, which it takes over */],
    result: "void",
  },
  SSL_CTX_set_verify: {
    parameters: ["pointer", /* ctx */ "i32", /* mode */ "pointer" /* callback */],
    result: "void",
  },
  SSL_CTX_set_session_id_context: {
    parameters: ["pointer", /* ctx */ "buffer", /* sid_ctx */ "u32" /* sid_ctx_len */],
    result: "i32",
  },
  SSL_new: { parameters: ["pointer" /* ctx */], result: "pointer" },
  SSL_free: { parameters: ["pointer" /* ssl */], result: "void" },
  SSL_set_accept_state: { parameters: ["pointer" /* ssl */], result: "void" },
  SSL_set_bio: {
    parameters: ["pointer", /* ssl */ "pointer", /* rbio */ "pointer" /* wbio, both taken over */],
    result: "void",
  },
  SSL_do_handshake: { parameters: ["pointer" /* ssl */], result: "i32" },
  SSL_read: {
    parameters: ["pointer", /* ssl */ "buffer", /* buf */ "i32" /* num */],
    result: "i32",
  },
  SSL_write: {
    parameters: ["pointer", /* ssl */ "buffer", /* buf */ "i32" /* num */],
    result: "i32",
  },
  SSL_shutdown: { parameters: ["pointer" /* ssl */], result: "i32" },
  SSL_get_verify_result: { parameters: ["pointer" /* ssl */], result: "i64" },
  SSL_get_error: { parameters: ["pointer", /* ssl */ "i32" /* ret */], result: "i32" },
  // The peer's certificate, with a reference to it: 3.x calls it get1, 1.1 get.
  SSL_get1_peer_certificate: {
    parameters: ["pointer" /* ssl */],
    result: "pointer",
    optional: true,
  },
  SSL_get_peer_certificate: {
    parameters: ["pointer" /* ssl */],
    result: "pointer",
    optional: true,
  },
  // Of libcrypto, which libssl brings along.
  X509_free: { parameters: ["pointer" /* a */], result: "void" },
  X509_get_subject_name: { parameters: ["pointer" /* x */], result: "pointer" },
  X509_NAME_oneline: {
    parameters: ["pointer", /* a */ "buffer", /* buf */ "i32" /* size */],
    result: "pointer",
  },
  X509_verify_cert_error_string: { parameters: ["i64" /* n */], result: "pointer" },
  BIO_s_mem: { parameters: [], result: "pointer" },
  BIO_new: { parameters: ["pointer" /* type */], result: "pointer" },
  BIO_free: { parameters: ["pointer" /* a */], result: "i32" },
  BIO_read: {
    parameters: ["pointer", /* bio */ "buffer", /* data */ "i32" /* dlen */],
    result: "i32",
  },
  BIO_write: {
    parameters: ["pointer", /* bio */ "buffer", /* data */ "i32" /* dlen */],
    result: "i32",
  },
  BIO_ctrl: {
    parameters: ["pointer", /* bio */ "i32", /* cmd */ "i64", /* larg */ "pointer" /* parg */],
    result: "i64",
  },
  ERR_get_error: { parameters: [], result: "u64" },
  ERR_error_string_n: {
    parameters: ["u64", /* e */ "buffer", /* buf */ "usize" /* len */],
    result: "void",
  },
  ERR_clear_error: { parameters: [], result: "void" },
} as const satisfies Deno.ForeignLibraryInterface;

type OpenSsl = Deno.DynamicLibrary<typeof SYMBOLS>["symbols"];

/** TLS cannot be had, or a connection's handshake failed. The message is OpenSSL's own, or ours. */
export class TlsError extends Error {
  override readonly name = "TlsError";
}

/** Paths of PEM files. */
export interface TlsServerFiles {
  /** Certificate, with the chain up to the CA. */
  readonly cert: string;
  readonly key: string;
  /** Lets in only holders of a certificate that this CA signed. */
  readonly ca?: string;
}

/** What is wrapped; a connection of Deno's is one. */
export interface PlainConnection {
  readonly remoteAddr: { readonly hostname: string };
  read(buffer: Uint8Array): Promise<number | null>;
  write(bytes: Uint8Array): Promise<number>;
  close(): void;
}

let library: OpenSsl | undefined;

function openSsl(): OpenSsl {
  if (library !== undefined) return library;
  for (const name of LIBRARIES) {
    try {
      return library = Deno.dlopen(name, SYMBOLS).symbols;
    } catch {
      // The next one may be there.
    }
  }
  throw new TlsError(
    `a server with TLS needs OpenSSL, ${LIBRARIES.join(" or ")}, which this host does not have`,
  );
}

/** A server's side of TLS: certificate, key, and whom it lets in. */
export class TlsServer implements Disposable {
  readonly #ssl = openSsl();
  #context: Deno.PointerObject | undefined;

  /** @throws {TlsError} naming the file that cannot be used */
  constructor({ cert, key, ca }: TlsServerFiles) {
    const ssl = this.#ssl;
    ssl.ERR_clear_error();
    const context = ssl.SSL_CTX_new(ssl.TLS_server_method());
    if (context === null) throw new TlsError(`SSL_CTX_new: ${this.#lastError()}`);
    this.#context = context;
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
    if (ca === undefined) return;
    check(ssl.SSL_CTX_load_verify_locations(context, cString(ca), null), ca);
    ssl.SSL_CTX_set_client_CA_list(context, ssl.SSL_load_client_CA_file(cString(ca)));
    ssl.SSL_CTX_set_verify(context, VERIFY_PEER_AND_FAIL, null);
  }

  /**
   * Wraps a connection; the handshake comes with the first read.
   *
   * @param onRefused told when the handshake has failed, before the read is rejected with the same error;
   * not when the other side just closes the connection, as what looks whether a port is open does
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

  /** Connections that stand are not touched; one whose handshake has not begun fails. */
  [Symbol.dispose](): void {
    if (this.#context !== undefined) this.#ssl.SSL_CTX_free(this.#context);
    this.#context = undefined;
  }

  #lastError(): string {
    return lastError(this.#ssl);
  }
}

/** What OpenSSL says of the failure that came last. */
function lastError(ssl: OpenSsl): string {
  const code = ssl.ERR_get_error();
  ssl.ERR_clear_error();
  const text = new Uint8Array(256);
  ssl.ERR_error_string_n(code, text, BigInt(text.length));
  // `error:0A000086:SSL routines::certificate verify failed`
  const words = new TextDecoder().decode(text.subarray(0, text.indexOf(0)));
  return words.split(":").at(-1) || words;
}

/** Why the other side's certificate was refused; empty where it was not. */
function verifyError(ssl: OpenSsl, handle: Deno.PointerObject): string {
  const code = ssl.SSL_get_verify_result(handle);
  if (code === X509_OK) return "";
  const words = ssl.X509_verify_cert_error_string(code);
  return words === null ? "" : `: ${Deno.UnsafePointerView.getCString(words)}`;
}

/** Bytes of a subject's text; X509_NAME_oneline(3) cuts a longer one. */
const SUBJECT_BYTES = 256;

/**
 * Reads the subject of the other side's certificate as `/O=.../CN=...`, other characters than printable
 * ASCII as `\xHH`; `undefined` without a certificate.
 */
function peerSubject(ssl: OpenSsl, handle: Deno.PointerObject): string | undefined {
  const get = ssl.SSL_get1_peer_certificate ?? ssl.SSL_get_peer_certificate;
  const certificate = get?.(handle) ?? null;
  if (certificate === null) return undefined;
  const text = new Uint8Array(SUBJECT_BYTES);
  const name = ssl.X509_get_subject_name(certificate);
  ssl.X509_NAME_oneline(name, text, text.length);
  ssl.X509_free(certificate);
  return new TextDecoder().decode(text.subarray(0, text.indexOf(0)));
}

/**
 * Bytes that OpenSSL is given or asked for at a time. A memory BIO keeps room for as much as it has ever held,
 * for the life of the connection.
 */
const PIECE = 4 * 1024;

/**
 * Bytes that are taken from the connection at a time. A poll that waits has room for them; a client's
 * handshake message and a request fit.
 */
const RECEIVED_BYTES = 2 * 1024;

/** OpenSSL's part of a connection. */
interface Session {
  readonly handle: Deno.PointerObject;
  /** Memory BIOs, which are freed with the handle. */
  readonly received: Deno.PointerObject;
  readonly toSend: Deno.PointerObject;
}

/** @throws {TlsError} when OpenSSL makes none, as for want of memory */
function makeSession(ssl: OpenSsl, context: Deno.PointerObject): Session {
  ssl.ERR_clear_error();
  const handle = ssl.SSL_new(context);
  const [received, toSend] = [ssl.BIO_new(ssl.BIO_s_mem()), ssl.BIO_new(ssl.BIO_s_mem())];
  if (handle === null || received === null || toSend === null) {
    const reason = lastError(ssl);
    ssl.SSL_free(handle);
    ssl.BIO_free(received);
    ssl.BIO_free(toSend);
    throw new TlsError(`SSL_new: ${reason}`);
  }
  ssl.SSL_set_bio(handle, received, toSend);
  ssl.SSL_set_accept_state(handle);
  return { handle, received, toSend };
}

/** A connection with TLS on it. */
export interface SecureConnection extends PlainConnection {
  /**
   * Makes the handshake, which otherwise comes with the first read.
   *
   * @returns false when the other side closes the connection instead
   * @throws {TlsError} when it fails
   */
  handshake(): Promise<boolean>;
  /** Subject of the client's verified certificate, once the handshake is done; absent without one. */
  readonly subject: string | undefined;
}

class TlsConnection implements SecureConnection {
  readonly #ssl: OpenSsl;
  readonly #context: () => Deno.PointerObject;
  readonly #plain: PlainConnection;
  readonly #onRefused: (error: TlsError) => void;
  #session: Session | undefined;
  #state: "handshake" | "up" | "broken" = "handshake";
  #subject: string | undefined;
  /** Operations that use the session; it is freed with the last. */
  #uses = 0;
  #isClosed = false;
  #sending: Promise<void> = Promise.resolve();

  constructor(
    ssl: OpenSsl,
    context: () => Deno.PointerObject,
    plain: PlainConnection,
    onRefused: (error: TlsError) => void,
  ) {
    this.#ssl = ssl;
    this.#context = context;
    this.#plain = plain;
    this.#onRefused = onRefused;
  }

  get remoteAddr(): { readonly hostname: string } {
    return this.#plain.remoteAddr;
  }

  get subject(): string | undefined {
    return this.#subject;
  }

  async handshake(): Promise<boolean> {
    return await this.#use(() => this.#handshake());
  }

  async read(buffer: Uint8Array): Promise<number | null> {
    return await this.#use(async () => {
      if (!await this.#handshake()) return null;
      const { handle } = this.#session!;
      // OpenSSL's memory, not the caller's: it may be a view of anything.
      const piece = new Uint8Array(Math.max(64, Math.min(buffer.length, PIECE)));
      const most = Math.min(piece.length, buffer.length);
      for (;;) {
        const { result, reason, words } = this.#call(
          handle,
          () => this.#ssl.SSL_read(handle, piece, most),
        );
        // An alert goes out whatever came of it.
        await this.#flush();
        if (this.#isClosed) return null;
        if (result > 0) {
          buffer.set(piece.subarray(0, result));
          return result;
        }
        if (reason === ERROR_ZERO_RETURN) return null;
        if (reason !== ERROR_WANT_READ) throw new TlsError(words);
        if (!await this.#receive()) return null;
      }
    });
  }

  async write(bytes: Uint8Array): Promise<number> {
    return await this.#use(async () => {
      if (this.#state !== "up") throw new TlsError("there was no handshake");
      const { handle } = this.#session!;
      const piece = new Uint8Array(Math.max(64, Math.min(bytes.length, PIECE)));
      const count = Math.min(bytes.length, PIECE);
      piece.set(bytes.subarray(0, count));
      const { result, words } = this.#call(handle, () => this.#ssl.SSL_write(handle, piece, count));
      if (result <= 0) throw new TlsError(words);
      await this.#flush();
      return result;
    });
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    // Not after an error: SSL_shutdown(3) forbids it, and would put one more into the queue.
    if (this.#state === "up" && this.#uses === 0) {
      const { handle } = this.#session!;
      this.#call(handle, () => this.#ssl.SSL_shutdown(handle));
      // Sent as far as the connection takes it at once.
      this.#flush().catch(() => {}).finally(() => this.#plain.close());
    } else this.#plain.close();
    this.#free();
  }

  /**
   * Makes the handshake, if it has yet to be made.
   *
   * @returns false when the other side closes the connection instead
   */
  async #handshake(): Promise<boolean> {
    while (this.#state !== "up") {
      if (this.#state === "broken") throw new TlsError("the handshake has failed");
      // OpenSSL's part takes 50 KB and more: not for who has sent nothing.
      if (!await this.#receive()) return false;
      const { handle } = this.#session!;
      const { result, reason, words } = this.#call(
        handle,
        () => this.#ssl.SSL_do_handshake(handle),
      );
      const refusal = reason === ERROR_SSL
        ? new TlsError(words + verifyError(this.#ssl, handle))
        : undefined;
      if (refusal !== undefined) this.#onRefused(refusal);
      // Handshake messages and alerts go out whatever came of it.
      await this.#flush();
      if (this.#isClosed) return false;
      if (result > 0) {
        this.#state = "up";
        this.#subject = peerSubject(this.#ssl, handle);
      } else if (reason !== ERROR_WANT_READ) throw refusal ?? new TlsError(words);
    }
    return true;
  }

  /**
   * Makes one call of OpenSSL and takes its error out of the queue. That is the thread's: what another
   * connection had left there would be taken for this one's (SSL_get_error(3)).
   */
  #call(
    handle: Deno.PointerObject,
    step: () => number,
  ): { result: number; reason: number; words: string } {
    const ssl = this.#ssl;
    ssl.ERR_clear_error();
    const result = step();
    const reason = result > 0 ? 0 : ssl.SSL_get_error(handle, result);
    if (reason !== ERROR_SSL && reason !== ERROR_SYSCALL) {
      return { result, reason, words: `SSL_get_error ${reason}` };
    }
    this.#state = "broken";
    return { result, reason, words: lastError(ssl) };
  }

  async #use<T>(step: () => Promise<T>): Promise<T> {
    if (this.#isClosed) throw new TlsError("the connection is closed");
    this.#uses++;
    try {
      return await step();
    } finally {
      this.#uses--;
      this.#free();
    }
  }

  #free(): void {
    if (!this.#isClosed || this.#uses > 0 || this.#session === undefined) return;
    // With its two BIOs.
    this.#ssl.SSL_free(this.#session.handle);
    this.#session = undefined;
  }

  /** Hands what came over the connection to OpenSSL; false at its end. */
  async #receive(): Promise<boolean> {
    const piece = new Uint8Array(RECEIVED_BYTES);
    const count = await this.#plain.read(piece);
    if (count === null || this.#isClosed) return false;
    this.#session ??= makeSession(this.#ssl, this.#context());
    this.#ssl.BIO_write(this.#session.received, piece, count);
    return true;
  }

  /** Sends what OpenSSL has to send, after what was to be sent before. */
  async #flush(): Promise<void> {
    const ssl = this.#ssl;
    const { toSend } = this.#session!;
    const pieces: Uint8Array[] = [];
    for (;;) {
      const pending = Number(ssl.BIO_ctrl(toSend, CTRL_PENDING, 0n, null));
      if (pending <= 0) break;
      const piece = new Uint8Array(Math.max(64, pending));
      const count = ssl.BIO_read(toSend, piece, pending);
      pieces.push(piece.subarray(0, count));
    }
    this.#sending = this.#sending.then(async () => {
      for (const piece of pieces) {
        for (let at = 0; at < piece.length;) at += await this.#plain.write(piece.subarray(at));
      }
    });
    // Whoever comes next waits for nothing that failed here.
    const sending = this.#sending;
    this.#sending = sending.catch(() => {});
    await sending;
  }
}
