/** A refused request; the message is the answer. After an error of {@linkcode parseHead} the connection is closed. */
export class HttpError extends Error {
  override readonly name = "HttpError";

  constructor(readonly status: number, message: string) {
    super(message);
  }
}

/** The head of a request. */
export interface RequestHead {
  readonly method: string;
  /** As it was sent. */
  readonly target: string;
  /** Of the target, still escaped. */
  readonly path: string;
  readonly query: URLSearchParams;
  /** By name in lower case; several fields of one name with commas between their values. */
  readonly headers: ReadonlyMap<string, string>;
  /** `host[:port]` that the request is for: of the target where that is a whole URL, else of `Host`. */
  readonly authority: string | undefined;
  readonly contentLength: number;
  readonly expectsContinue: boolean;
  /** The client lets the connection stand after the answer. */
  readonly keepAlive: boolean;
}

/** RFC 9110, 5.6.2. */
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;

/**
 * Reads the head of a request (RFC 9112), up to and with the empty line.
 *
 * Bodies come with a length: that is how Go sends what it has in memory, and so do all clients.
 *
 * @throws {HttpError} when it is none, or asks for what is not offered
 */
export function parseHead(text: string): RequestHead {
  const [start = "", ...lines] = text.trimEnd().split(/\r?\n/);
  const match = /^(\S+) (\S+) HTTP\/(\d\.\d)$/.exec(start);
  if (match === null || !TOKEN.test(match[1]!)) throw new HttpError(400, "not an HTTP request");
  const [, method, target, version] = match as unknown as [string, string, string, string];
  if (version !== "1.1" && version !== "1.0") throw new HttpError(505, "speak HTTP/1.1");
  const headers = readHeaders(lines);
  if (headers.has("transfer-encoding")) {
    throw new HttpError(411, "send the body with its Content-Length");
  }
  const { path, query, authority = headers.get("host") } = readTarget(target);
  // No pattern for the blanks around a comma: a long run of them would take quadratic time.
  const connection = headers.get("connection")?.toLowerCase().split(",").map((one) => one.trim());
  return {
    ...{ method, target, path, query, headers, authority },
    contentLength: readLength(headers.get("content-length")),
    expectsContinue: headers.get("expect")?.toLowerCase() === "100-continue",
    keepAlive: version === "1.1" ? !connection?.includes("close") : false,
  };
}

function readHeaders(lines: readonly string[]): Map<string, string> {
  const headers = new Map<string, string>();
  for (const line of lines) {
    const colon = line.indexOf(":");
    const name = line.slice(0, colon).toLowerCase();
    if (colon < 0 || !TOKEN.test(name)) throw new HttpError(400, "malformed header line");
    const value = line.slice(colon + 1).trim();
    const before = headers.get(name);
    if (name === "content-length" && before !== undefined && before !== value) {
      throw new HttpError(400, "two different Content-Length");
    }
    headers.set(
      name,
      before === undefined || name === "content-length" ? value : `${before},${value}`,
    );
  }
  return headers;
}

function readLength(text: string | undefined): number {
  if (text === undefined) return 0;
  if (!/^\d{1,15}$/.test(text)) throw new HttpError(400, "malformed Content-Length");
  return Number(text);
}

function readTarget(
  target: string,
): { path: string; query: URLSearchParams; authority: string | undefined } {
  // A proxy may send the whole URL, which then counts more than Host (RFC 9112, 3.2.2).
  const [scheme = "", authority] = /^https?:\/\/([^/?]*)/i.exec(target) ?? [];
  const local = target.slice(scheme.length);
  if (!local.startsWith("/")) throw new HttpError(400, "malformed request target");
  const mark = local.indexOf("?");
  return {
    path: mark < 0 ? local : local.slice(0, mark),
    query: new URLSearchParams(mark < 0 ? "" : local.slice(mark + 1)),
    authority,
  };
}
