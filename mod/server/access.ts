/**
 * Access to `-listen`. With a token or a CA for client certificates, the server answers only clients that have
 * credentials, and these may do everything. Without both (`-listen-allow-unauthenticated`) every client may read,
 * and write the lease and the node record of its address.
 *
 * @module
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { formatIPv4, type IPv4, parseIPv4 } from "../ip/mod.ts";
import { hostnameOf } from "./host_names.ts";
import type { HttpRequest } from "../http/request_reader.ts";
import { HttpError } from "../http/head.ts";
import { truncate } from "../text/mod.ts";
import { WrongTokenLimit } from "./wrong_tokens.ts";

/** The client that makes a request. */
export interface Caller {
  /** Address that the connection comes from. */
  readonly address: string;
  /** The same as a number; `undefined` for IPv6. */
  readonly ipv4: IPv4 | undefined;
  /** True with a client certificate or the token; always, where the server asks for either. */
  readonly isTrusted: boolean;
  /** For the log: `certificate SUBJECT`, `token` or `no credentials`. */
  readonly identity: string;
}

/** Options of {@linkcode AccessPolicy}. */
export interface AccessOptions {
  /**
   * The token that each request without a client certificate needs, or returns it as it is at present; when absent,
   * tokens are ignored.
   */
  readonly token?: string | (() => Promise<string>) | undefined;
  /** Names of this host besides `localhost`, in lower case. */
  readonly hostNames?: ReadonlySet<string> | undefined;
}

/** Identifies clients, and refuses requests that a web page may have caused. */
export class AccessPolicy {
  readonly #token: AccessOptions["token"];
  readonly #hostNames: ReadonlySet<string>;
  readonly #wrongTokens = new WrongTokenLimit();

  constructor({ token, hostNames = new Set<string>() }: AccessOptions) {
    this.#token = token;
    this.#hostNames = new Set(["localhost", ...hostNames]);
  }

  /**
   * Accepts the right token at any time: containers behind NAT share their host's address, and must not lock it out.
   *
   * @throws {HttpError} when the client needs the token and does not send it
   */
  async identify({ headers, peer }: Pick<HttpRequest, "headers" | "peer">): Promise<Caller> {
    const address = peer.address.replace(/^::ffff:/i, "");
    const from = { address, ipv4: parseIPv4(address) };
    const shown = headers.get("authorization");
    if (peer.subject !== undefined) {
      return { ...from, isTrusted: true, identity: `certificate ${peer.subject}` };
    }
    const token = typeof this.#token === "function" ? await this.#token() : this.#token;
    if (token === undefined) {
      return { ...from, isTrusted: false, identity: "no credentials" };
    }
    if (shown === undefined) {
      throw new HttpError(
        401,
        "this server needs a token: give -remote-token-file with the content of the server's",
      );
    }
    // Hashes have equal length, so that the time of the comparison reveals nothing about the token.
    const isRight = timingSafeEqual(sha256(bearerToken(shown)), sha256(token));
    if (isRight) return { ...from, isTrusted: true, identity: "token" };
    if (!this.#wrongTokens.count(address)) {
      throw new HttpError(
        429,
        `too many wrong tokens from ${address}: -remote-token-file needs the server's content; ` +
          "one more is answered each second",
      );
    }
    throw new HttpError(
      401,
      "the token is not this server's: -remote-token-file needs the same content on both",
    );
  }

  /**
   * Refuses requests of web pages. A browser sends the page's `Origin`; a page of another site reaches this server
   * by a name of its own (DNS rebinding); and it sends JSON only after a CORS request, which this server refuses.
   *
   * @throws {HttpError}
   */
  admit({ headers, authority, contentLength }: HttpRequest, { isTrusted }: Caller): void {
    if (headers.has("origin")) {
      throw new HttpError(403, "requests with an Origin header, as web pages send, are refused");
    }
    // A page has neither certificate nor token; an agent may know the server by any name.
    if (!isTrusted && authority !== undefined && !this.#isOwn(authority)) {
      throw new HttpError(
        421,
        `${
          truncate(authority, 255)
        } is not a name of this server: use its address or its host name`,
      );
    }
    const [type = ""] = (headers.get("content-type") ?? "").split(";");
    if (contentLength > 0 && type.trim().toLowerCase() !== "application/json") {
      throw new HttpError(415, "a body needs Content-Type: application/json");
    }
  }

  #isOwn(authority: string): boolean {
    const name = hostnameOf(authority);
    // DNS cannot resolve an address to another one.
    return name !== undefined && (name.isAddress || this.#hostNames.has(name.text));
  }
}

/** @throws {HttpError} unless the client has a certificate or the token */
export function requireTrust({ isTrusted }: Caller, what: string): void {
  if (!isTrusted) throw new HttpError(403, `${what} ${NEEDS_CREDENTIALS}`);
}

/** @throws {HttpError} unless the client is trusted or comes from `publicIP` */
export function requireOwn(
  { isTrusted, ipv4, address }: Caller,
  what: string,
  publicIP: IPv4,
): void {
  if (isTrusted || ipv4 === publicIP) return;
  throw new HttpError(
    403,
    `${what} of ${formatIPv4(publicIP)} from ${address} ${NEEDS_CREDENTIALS}`,
  );
}

const NEEDS_CREDENTIALS =
  "needs credentials, and this server has none: it runs with -listen-allow-unauthenticated";

/** Returns the token after `Bearer` (RFC 6750, 2.1); empty for another scheme. */
function bearerToken(authorization: string): string {
  return /^Bearer +(\S+)$/i.exec(authorization)?.[1] ?? "";
}

function sha256(text: string): Uint8Array {
  return createHash("sha256").update(text).digest();
}
