/**
 * The host's OpenSSL, loaded at its first use.
 *
 * @module
 */

/** Names of the library, newest first: 3.x, 1.1 (RHEL 8, Debian 10), 1.0.2 (not: another interface). */
const LIBRARIES = ["libssl.so.3", "libssl.so.1.1"];

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

/** Its functions. */
export type OpenSsl = Deno.DynamicLibrary<typeof SYMBOLS>["symbols"];

/** OpenSSL is missing, or a handshake failed. The message is OpenSSL's or this program's. */
export class TlsError extends Error {
  override readonly name = "TlsError";
}

let library: OpenSsl | undefined;

/** Loads the library. @throws {TlsError} where the host has none */
export function openSsl(): OpenSsl {
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

/** Returns OpenSSL's text of the last failure. */
export function lastError(ssl: OpenSsl): string {
  const code = ssl.ERR_get_error();
  ssl.ERR_clear_error();
  const text = new Uint8Array(256);
  ssl.ERR_error_string_n(code, text, BigInt(text.length));
  // `error:0A000086:SSL routines::certificate verify failed`
  const words = new TextDecoder().decode(text.subarray(0, text.indexOf(0)));
  return words.split(":").at(-1) || words;
}
