/**
 * HTTP/1.1 over a unix socket, one request a connection: what `flanneld status` needs. The runtime's own
 * `fetch` takes such sockets only in versions newer than the executable's.
 *
 * @module
 */

/** Options of {@linkcode getUnix}. */
export interface UnixRequestOptions {
  /** Milliseconds until the answer must be complete. @default 10_000 */
  readonly timeout?: number;
  readonly signal?: AbortSignal;
}

/** An answer. */
export interface UnixResponse {
  readonly status: number;
  readonly body: string;
}

/** No answer came from a unix socket. The message is one line. */
export class UnixRequestError extends Error {
  override readonly name = "UnixRequestError";
}

const BLANK_LINE = new Uint8Array([13, 10, 13, 10]);

/**
 * Gets a page.
 *
 * @param path of the socket
 * @param target path and query, with a leading slash
 * @throws {Deno.errors.NotFound | Deno.errors.ConnectionRefused} when nobody listens
 * @throws {Deno.errors.PermissionDenied} for whoever may not connect
 * @throws {UnixRequestError} when the answer does not come in time, ends early or is no HTTP
 * @throws the reason of the signal when it aborts
 */
export async function getUnix(
  path: string,
  target: string,
  { timeout = 10_000, signal }: UnixRequestOptions = {},
): Promise<UnixResponse> {
  signal?.throwIfAborted();
  using connection = await Deno.connect({ transport: "unix", path });
  let reason: unknown;
  const end = (why: unknown) => {
    reason ??= why;
    try {
      connection.close();
    } catch {
      // It was closed a moment ago.
    }
  };
  const late = () => end(new UnixRequestError(`no answer on ${path} within ${timeout / 1000} s`));
  const timer = setTimeout(late, timeout);
  const abort = () => end(signal!.reason);
  signal?.addEventListener("abort", abort);
  try {
    const request = `GET ${target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n`;
    const writer = connection.writable.getWriter();
    await writer.write(new TextEncoder().encode(request));
    return parseResponse(new Uint8Array(await new Response(connection.readable).arrayBuffer()));
  } catch (error) {
    throw reason ?? error;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
  }
}

/**
 * Reads a whole response, as it lay on a connection that its end has closed.
 *
 * @throws {UnixRequestError} when it is not one, or not all of it
 */
export function parseResponse(bytes: Uint8Array): UnixResponse {
  const head = find(bytes, BLANK_LINE, 0);
  const [statusLine, ...lines] = new TextDecoder("latin1").decode(bytes.subarray(0, head))
    .split("\r\n");
  const status = /^HTTP\/1\.[01] (\d{3})(?: |$)/.exec(statusLine!)?.[1];
  if (status === undefined) throw new UnixRequestError(`not an HTTP response: ${statusLine}`);
  const headers = new Map(lines.map((line) => {
    const colon = line.indexOf(":");
    return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()] as const;
  }));
  const content = bytes.subarray(head + BLANK_LINE.length);
  const body = new TextDecoder().decode(
    headers.get("transfer-encoding")?.toLowerCase() === "chunked"
      ? joinChunks(content)
      : cut(content, headers.get("content-length")),
  );
  return { status: Number(status), body };
}

function cut(content: Uint8Array, length: string | undefined): Uint8Array {
  if (length === undefined) return content;
  if (!/^\d+$/.test(length)) throw new UnixRequestError(`not a length: ${length}`);
  if (content.length < Number(length)) throw ended();
  return content.subarray(0, Number(length));
}

/** RFC 9112, 7.1. */
function joinChunks(content: Uint8Array): Uint8Array {
  const parts: Uint8Array[] = [];
  for (let at = 0;;) {
    const line = find(content, BLANK_LINE.subarray(0, 2), at);
    const text = new TextDecoder("latin1").decode(content.subarray(at, line));
    const size = /^[0-9a-fA-F]{1,12}(?=$|[; \t])/.exec(text)?.[0];
    if (size === undefined) throw new UnixRequestError(`not a chunk's size: ${text.slice(0, 20)}`);
    const start = line + 2;
    const end = start + parseInt(size, 16);
    if (end === start) break;
    if (end + 2 > content.length) throw ended();
    parts.push(content.subarray(start, end));
    at = end + 2;
  }
  const joined = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

/** Where `what` begins, from `start` on. */
function find(bytes: Uint8Array, what: Uint8Array, start: number): number {
  for (let at = start; at + what.length <= bytes.length; at++) {
    if (what.every((byte, i) => bytes[at + i] === byte)) return at;
  }
  throw ended();
}

function ended(): UnixRequestError {
  return new UnixRequestError("the connection ended before the answer did");
}
