import type { TlsFlags } from "./etcd/tls_files.ts";

/** Facts about the server, for the hints of {@linkcode describeFetchError}. */
export interface ServerContext {
  /** Path that `-etcd-cafile`, or the like, gave. */
  readonly caFile?: string | undefined;
  /** Prefix of the flags for TLS. @default "-etcd" */
  readonly flags?: TlsFlags;
  /** True for a connection over TLS. @default not known */
  readonly url?: string;
  /** It has answered before, so neither the scheme nor a flag is wrong. @default false */
  readonly hasAnswered?: boolean;
}

/**
 * Describes briefly why `fetch` failed, without the URL that its own message repeats, and with the
 * flag that fixes it, if any.
 *
 * Deno 2.9 puts the reason into `cause`, Deno 2.4 into the message.
 *
 * @param error what `fetch`, or reading a body, rejected with
 */
export function describeFetchError(error: unknown, server: ServerContext = {}): string {
  const messages: string[] = [];
  for (let at = error; at instanceof Error; at = at.cause) messages.push(at.message);
  const text = shorten(messages.find((message) => message !== "fetch failed") ?? String(error));
  const hint = hintFor(text, server);
  return hint === undefined ? text : `${hint} (${text})`;
}

function shorten(message: string): string {
  const text = message
    .replace(/^error sending request (from \S+ )?for (url )?\S+( \([^)]*\))?: /, "")
    .replace(/^client error \(\w+\): /, "")
    .replace(/^(tcp connect error|connection error|dns error): /, "");
  // Layers of the HTTP library repeat the words of the system.
  const at = text.lastIndexOf(": ");
  const [before, behind] = [text.slice(0, Math.max(0, at)), text.slice(at + 2)];
  return at >= 0 && before.endsWith(behind) ? before : text;
}

function hintFor(
  text: string,
  { caFile, flags = "-etcd", url = "", hasAnswered = false }: ServerContext,
): string | undefined {
  if (text.includes("UnknownIssuer") || text.includes("BadSignature")) {
    return caFile === undefined
      ? "its certificate is signed by a CA that is not trusted here; name the CA with " +
        `${flags}-cafile`
      : `its certificate is not signed by the CA of ${flags}-cafile ${caFile}`;
  }
  // rustls takes a certificate with CA:TRUE (RFC 5280, 4.2.1.9) for no server's.
  if (text.includes("CaUsedAsEndEntity")) {
    return "its certificate is a CA's own (CA:TRUE), which is not taken for a server's; give the " +
      "server a certificate that the CA has signed";
  }
  if (text.includes("CertificateRequired")) {
    return `it asks for a client certificate; give ${flags}-certfile and ${flags}-keyfile`;
  }
  // Alerts by which a server refuses the client's certificate (RFC 8446, 6.2), as rustls names them.
  if (/UnknownCA|BadCertificate|CertificateUnknown|CertificateExpired|DecryptError/.test(text)) {
    return `it does not accept the client certificate of ${flags}-certfile: is it of a CA that the ` +
      "server trusts, and has it not run out?";
  }
  if (text.includes("NotValidForName")) {
    return "its certificate does not name this host among its subject alternative names";
  }
  if (/certificate expired|\bExpired\b/.test(text)) {
    return "its certificate has run out, or this host's clock is wrong";
  }
  if (/certificate not valid yet|NotValidYet/.test(text)) {
    return "its certificate is not valid yet, or this host's clock is wrong";
  }
  // A server that ends, and one that speaks another protocol, look alike from here on.
  if (hasAnswered) return undefined;
  if (
    text.includes("tls handshake eof") || text.includes("InvalidContentType") ||
    (url.startsWith("https:") && text.includes("unexpected end of file"))
  ) {
    return flags === "-remote"
      ? "it does not speak TLS; leave out -remote-cafile, -remote-certfile and -remote-keyfile"
      : "it does not speak TLS; is it http:// ?";
  }
  // A TLS server answers so to a client without TLS.
  if (url.startsWith("http:") && /^(connection closed before|the server closed)/.test(text)) {
    return flags === "-remote"
      ? "the server closed the connection; if it has TLS, give -remote-cafile"
      : "the server closed the connection; is it https:// ?";
  }
  return undefined;
}
