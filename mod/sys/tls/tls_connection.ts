import { lastError, type OpenSsl, TlsError } from "./openssl.ts";

/** SSL_get_error(3). */
const ERROR_SSL = 1;
const ERROR_WANT_READ = 2;
const ERROR_SYSCALL = 5;
const ERROR_ZERO_RETURN = 6;
/** X509_V_OK of openssl/x509_vfy.h. */
const X509_OK = 0n;
/** BIO_CTRL_PENDING of openssl/bio.h. */
const CTRL_PENDING = 10;

/** The TCP connection below TLS, such as a `Deno.TcpConn`. */
export interface PlainConnection {
  readonly remoteAddr: { readonly hostname: string };
  read(buffer: Uint8Array): Promise<number | null>;
  write(bytes: Uint8Array): Promise<number>;
  close(): void;
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
 * Bytes to pass to or read from OpenSSL at a time. A memory BIO keeps its largest size for the life of the
 * connection.
 */
const PIECE = 4 * 1024;

/**
 * Bytes to read from the connection at a time. Each waiting poll allocates them; a client's handshake message
 * and a request fit.
 */
const RECEIVED_BYTES = 2 * 1024;

/** OpenSSL's part of a connection. */
interface Session {
  readonly handle: Deno.PointerObject;
  /** Memory BIOs, which are freed with the handle. */
  readonly received: Deno.PointerObject;
  readonly toSend: Deno.PointerObject;
}

/** @throws {TlsError} when OpenSSL cannot create it, for lack of memory */
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

/** TLS on a connection, as its server. */
export class TlsConnection implements SecureConnection {
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
      // A buffer of its own for OpenSSL, because the caller's may be a view of other memory.
      const piece = new Uint8Array(Math.max(64, Math.min(buffer.length, PIECE)));
      const most = Math.min(piece.length, buffer.length);
      for (;;) {
        const { result, reason, words } = this.#call(
          handle,
          () => this.#ssl.SSL_read(handle, piece, most),
        );
        // Sends an alert whatever the result.
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
      // OpenSSL's part takes 50 KB and more; a client that has sent nothing does not get it.
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
      // Sends handshake messages and alerts whatever the result.
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
   * Makes one call of OpenSSL and clears the error queue. The queue belongs to the thread: an error of another
   * connection would count as this one's (SSL_get_error(3)).
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

  /** Passes received bytes to OpenSSL; resolves to false at the end of the connection. */
  async #receive(): Promise<boolean> {
    const piece = new Uint8Array(RECEIVED_BYTES);
    const count = await this.#plain.read(piece);
    if (count === null || this.#isClosed) return false;
    this.#session ??= makeSession(this.#ssl, this.#context());
    this.#ssl.BIO_write(this.#session.received, piece, count);
    return true;
  }

  /** Sends OpenSSL's pending bytes, after those of earlier calls. */
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
    // A failure here must not block the next caller.
    const sending = this.#sending;
    this.#sending = sending.catch(() => {});
    await sending;
  }
}
