/**
 * HTTP to a metadata server: link-local, without TLS, and never through a proxy. `fetch` would hand the
 * request, and the credentials in its answer, to whatever HTTP_PROXY names.
 *
 * @module
 */
import { abortable } from "../../mod/async/abortable.ts";

/** The largest answer that is read, in bytes; credentials have some 2 KB. */
const LARGEST = 1 << 20;

/** A request of {@linkcode plainHttp}. */
export interface PlainRequest {
  /** @default "GET" */
  readonly method?: "GET" | "PUT";
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
}

/** Its answer. */
export interface PlainResponse {
  readonly status: number;
  readonly text: string;
}

/**
 * Makes one request on a connection of its own.
 *
 * @param url `http:` only
 * @throws the signal's reason
 * @throws {Error} when the server cannot be reached, or its answer is not HTTP
 */
export async function plainHttp(
  url: URL,
  { method = "GET", headers = {}, signal }: PlainRequest,
): Promise<PlainResponse> {
  if (url.protocol !== "http:") throw new TypeError(`${url.origin} is not an http:// address`);
  signal.throwIfAborted();
  // An IPv6 address stands in brackets in a URL, and without them everywhere else.
  const hostname = url.hostname.replace(/^\[(.*)\]$/, "$1");
  const connecting = Deno.connect({ hostname, port: Number(url.port || 80) });
  let connection: Deno.TcpConn;
  try {
    connection = await abortable(connecting, signal);
  } catch (error) {
    connecting.then((late) => late.close(), () => {});
    throw error;
  }
  const close = closer(connection);
  signal.addEventListener("abort", close);
  try {
    const lines = [
      `${method} ${url.pathname}${url.search} HTTP/1.1`,
      `Host: ${url.host}`,
      "Connection: close",
      "Accept: */*",
      ...(method === "PUT" ? ["Content-Length: 0"] : []),
      ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
    ];
    const request = new TextEncoder().encode(lines.join("\r\n") + "\r\n\r\n");
    for (let at = 0; at < request.length;) at += await connection.write(request.subarray(at));
    return await readResponse(connection);
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  } finally {
    signal.removeEventListener("abort", close);
    close();
  }
}

function closer(connection: Deno.TcpConn): () => void {
  let isOpen = true;
  return () => {
    if (isOpen) connection.close();
    isOpen = false;
  };
}

/** Reads an answer to its end: told by its length, its last chunk, or the connection's end. */
async function readResponse(from: Pick<Deno.Conn, "read">): Promise<PlainResponse> {
  let bytes = new Uint8Array(4096);
  let size = 0;
  for (let isEnd = false;;) {
    const response = parseResponse(bytes.subarray(0, size), isEnd);
    if (response !== undefined) return response;
    if (isEnd) throw new Error(`the answer ends after ${size} bytes, which is too early`);
    if (size > LARGEST) throw new Error(`the answer is longer than ${LARGEST} bytes`);
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
 * Reads an HTTP/1.1 answer (RFC 9112). Exported for its test.
 *
 * @param isEnd nothing more comes
 * @returns `undefined` while the answer is not complete
 * @throws {Error} when it is not HTTP
 */
export function parseResponse(bytes: Uint8Array, isEnd: boolean): PlainResponse | undefined {
  const text = latin1(bytes);
  const headEnd = text.indexOf("\r\n\r\n");
  if (headEnd < 0) return undefined;
  const [statusLine, ...fields] = text.slice(0, headEnd).split("\r\n");
  const status = /^HTTP\/1\.[01] (\d{3})( |$)/.exec(statusLine!)?.[1];
  if (status === undefined) throw new Error("the answer is not HTTP");
  const field = (name: string) =>
    fields.find((line) => line.toLowerCase().startsWith(`${name}:`))?.slice(name.length + 1).trim();
  const body = bytes.subarray(headEnd + 4);
  const coding = field("transfer-encoding")?.toLowerCase();
  if (coding !== undefined && coding !== "chunked") {
    throw new Error(`the answer has transfer coding ${coding}`);
  }
  const length = field("content-length");
  if (length !== undefined && !/^\d{1,9}$/.test(length)) {
    throw new Error("the answer's length is not a number");
  }
  const content = coding === "chunked"
    ? joinChunks(body)
    : length !== undefined
    ? body.length < Number(length) ? undefined : body.subarray(0, Number(length))
    : isEnd
    ? body
    : undefined;
  if (content === undefined) return undefined;
  return { status: Number(status), text: new TextDecoder().decode(content) };
}

/** The content of chunks; `undefined` while the last is not there. */
function joinChunks(body: Uint8Array): Uint8Array | undefined {
  const text = latin1(body);
  const parts: Uint8Array[] = [];
  for (let at = 0;;) {
    const lineEnd = text.indexOf("\r\n", at);
    if (lineEnd < 0) return undefined;
    const digits = /^([0-9a-fA-F]{1,7})\s*(;.*)?$/.exec(text.slice(at, lineEnd))?.[1];
    if (digits === undefined) throw new Error("the answer has a chunk without a length");
    const length = parseInt(digits, 16);
    if (length === 0) return join(parts);
    const start = lineEnd + 2;
    if (body.length < start + length + 2) return undefined;
    parts.push(body.subarray(start, start + length));
    at = start + length + 2;
  }
}

function join(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** A character a byte, so that offsets are those of the bytes. */
function latin1(bytes: Uint8Array): string {
  return new TextDecoder("latin1").decode(bytes);
}
