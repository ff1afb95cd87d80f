/**
 * HTTP/1.1 as a client, one request a connection: to servers on this host or link, without TLS. The
 * runtime's `fetch` would hand a request, and the credentials in its answer, to the proxy that HTTP_PROXY
 * names; and it takes unix sockets only in versions newer than the executable's.
 *
 * @module
 */
import { abortable } from "../async/abortable.ts";
import { concat } from "./bytes.ts";

/** The largest response that {@linkcode requestHttp} reads, in bytes. */
const MAX_BYTES = 1 << 20;

/** Options of {@linkcode requestHttp}. */
export interface HttpClientOptions {
  /** @default "GET" */
  readonly method?: "GET" | "PUT";
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
}

/** Options of {@linkcode getUnix}. */
export interface UnixRequestOptions {
  /** Milliseconds until the response must be complete. @default 10_000 */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** A response. */
export interface HttpResponse {
  readonly status: number;
  /** Decoded as UTF-8. */
  readonly body: string;
}

/** No response, or something else than one. The message is one line. */
export class HttpClientError extends Error {
  override readonly name = "HttpClientError";
}

/**
 * Makes one request over TCP.
 *
 * @param url `http:` only
 * @throws the signal's reason
 * @throws {HttpClientError} when the response ends early, is longer than 1 MiB or is not HTTP
 * @throws {Error} when the server cannot be reached
 */
export async function requestHttp(
  url: URL,
  { method = "GET", headers = {}, signal }: HttpClientOptions,
): Promise<HttpResponse> {
  if (url.protocol !== "http:") throw new TypeError(`${url.origin} is not an http:// address`);
  signal.throwIfAborted();
  // An IPv6 address stands in brackets in a URL, and without them everywhere else.
  const hostname = url.hostname.replace(/^\[(.*)\]$/, "$1");
  const connecting = Deno.connect({ hostname, port: Number(url.port || 80) });
  return await exchange(connecting, signal, MAX_BYTES, [
    `${method} ${url.pathname}${url.search} HTTP/1.1`,
    `Host: ${url.host}`,
    ...(method === "PUT" ? ["Content-Length: 0"] : []),
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
  ]);
}

/**
 * Gets a page over a unix socket, of any length.
 *
 * @param path of the socket
 * @param target path and query, with a leading slash
 * @throws {Deno.errors.NotFound | Deno.errors.ConnectionRefused} when nobody listens
 * @throws {Deno.errors.PermissionDenied} when this process may not connect
 * @throws {HttpClientError} when the response does not come in time, ends early or is not HTTP
 * @throws the signal's reason
 */
export async function getUnix(
  path: string,
  target: string,
  { timeoutMs = 10_000, signal }: UnixRequestOptions = {},
): Promise<HttpResponse> {
  signal?.throwIfAborted();
  const late = new AbortController();
  const reason = new HttpClientError(`no answer on ${path} within ${timeoutMs / 1000} s`);
  const timer = setTimeout(() => late.abort(reason), timeoutMs);
  const limit = signal === undefined ? late.signal : AbortSignal.any([signal, late.signal]);
  try {
    const connecting = Deno.connect({ transport: "unix", path });
    return await exchange(connecting, limit, Infinity, [
      `GET ${target} HTTP/1.1`,
      "Host: localhost",
    ]);
  } finally {
    clearTimeout(timer);
  }
}

/** Sends a head of these lines and reads the response; the connection is closed in any case. */
async function exchange(
  connecting: Promise<Deno.Conn>,
  signal: AbortSignal,
  maxBytes: number,
  lines: readonly string[],
): Promise<HttpResponse> {
  let connection: Deno.Conn;
  try {
    connection = await abortable(connecting, signal);
  } catch (error) {
    connecting.then((late) => late.close(), () => {});
    throw error;
  }
  let isOpen = true;
  const close = () => {
    if (isOpen) connection.close();
    isOpen = false;
  };
  signal.addEventListener("abort", close);
  try {
    const head = [...lines, "Connection: close", "Accept: */*"].join("\r\n") + "\r\n\r\n";
    const request = new TextEncoder().encode(head);
    for (let at = 0; at < request.length;) at += await connection.write(request.subarray(at));
    return await readResponse(connection, maxBytes);
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  } finally {
    signal.removeEventListener("abort", close);
    close();
  }
}

/** Reads a response to its end: by its length, its last chunk, or the connection's end. */
async function readResponse(
  from: Pick<Deno.Conn, "read">,
  maxBytes: number,
): Promise<HttpResponse> {
  let bytes = new Uint8Array(4096);
  let size = 0;
  for (let isEnd = false;;) {
    const response = parseResponse(bytes.subarray(0, size), isEnd);
    if (response !== undefined) return response;
    if (isEnd) throw new HttpClientError(`the answer ends after ${size} bytes, which is too early`);
    if (size > maxBytes) throw new HttpClientError(`the answer is longer than ${maxBytes} bytes`);
    if (size === bytes.length) {
      const larger = new Uint8Array(size * 2);
      larger.set(bytes);
      bytes = larger;
    }
    const count = await from.read(bytes.subarray(size));
    if (count === null) isEnd = true;
    else size += count;
  }
}

/**
 * Reads an HTTP/1.1 response (RFC 9112). Exported for its test.
 *
 * @param isEnd nothing more comes
 * @returns `undefined` while the response is not complete
 * @throws {HttpClientError} when it is not HTTP
 */
export function parseResponse(bytes: Uint8Array, isEnd: boolean): HttpResponse | undefined {
  const headEnd = findLineEnd(bytes, 0, true);
  if (headEnd < 0) return undefined;
  const [statusLine, ...fields] = latin1(bytes.subarray(0, headEnd)).split("\r\n");
  const status = /^HTTP\/1\.[01] (\d{3})( |$)/.exec(statusLine!)?.[1];
  if (status === undefined) throw new HttpClientError("the answer is not HTTP");
  const field = (name: string) =>
    fields.find((line) => line.toLowerCase().startsWith(`${name}:`))?.slice(name.length + 1).trim();
  const body = bytes.subarray(headEnd + 4);
  const coding = field("transfer-encoding")?.toLowerCase();
  if (coding !== undefined && coding !== "chunked") {
    throw new HttpClientError(`the answer has transfer coding ${coding}`);
  }
  const length = field("content-length");
  if (length !== undefined && !/^\d{1,9}$/.test(length)) {
    throw new HttpClientError("the answer's length is not a number");
  }
  const content = coding === "chunked"
    ? joinChunks(body)
    : length !== undefined
    ? body.length < Number(length) ? undefined : body.subarray(0, Number(length))
    : isEnd
    ? body
    : undefined;
  if (content === undefined) return undefined;
  return { status: Number(status), body: new TextDecoder().decode(content) };
}

/** The content of chunks (RFC 9112, 7.1); `undefined` while the last is not there. */
function joinChunks(body: Uint8Array): Uint8Array | undefined {
  const parts: Uint8Array[] = [];
  for (let at = 0;;) {
    const lineEnd = findLineEnd(body, at);
    if (lineEnd < 0) return undefined;
    const line = latin1(body.subarray(at, lineEnd));
    const digits = /^([0-9a-fA-F]{1,7})\s*(;.*)?$/.exec(line)?.[1];
    if (digits === undefined) throw new HttpClientError("the answer has a chunk without a length");
    const length = parseInt(digits, 16);
    if (length === 0) return concat(parts);
    const start = lineEnd + 2;
    if (body.length < start + length + 2) return undefined;
    parts.push(body.subarray(start, start + length));
    at = start + length + 2;
  }
}

/** Index of a CRLF from an index on, and of two in a row for an empty line; -1 without one. */
function findLineEnd(bytes: Uint8Array, from: number, isEmptyLine = false): number {
  for (let at = bytes.indexOf(13, from); at >= 0; at = bytes.indexOf(13, at + 1)) {
    const isLineEnd = bytes[at + 1] === 10;
    if (isLineEnd && (!isEmptyLine || (bytes[at + 2] === 13 && bytes[at + 3] === 10))) return at;
  }
  return -1;
}

/** A character a byte. */
function latin1(bytes: Uint8Array): string {
  return new TextDecoder("latin1").decode(bytes);
}
