/** Answer to a request. */
export interface HttpReply {
  readonly status: number;
  /** @default "text/plain; charset=utf-8" */
  readonly contentType?: string;
  /** Further fields. */
  readonly headers?: Iterable<readonly [name: string, value: string]>;
  readonly body: string;
}

const encoder = new TextEncoder();

/** Reason phrases of RFC 9110 for the statuses in use. */
const PHRASES: Readonly<Record<number, string>> = {
  200: "OK",
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  409: "Conflict",
  411: "Length Required",
  413: "Content Too Large",
  415: "Unsupported Media Type",
  421: "Misdirected Request",
  429: "Too Many Requests",
  431: "Request Header Fields Too Large",
  500: "Internal Server Error",
  501: "Not Implemented",
  503: "Service Unavailable",
  505: "HTTP Version Not Supported",
};

/**
 * Writes an answer.
 *
 * @param isHead leaves the body out, but for its length
 */
export function encodeReply(reply: HttpReply, keepAlive: boolean, isHead = false): Uint8Array {
  const { status, contentType = "text/plain; charset=utf-8", headers = [] } = reply;
  const fields = Array.from(headers, ([name, value]) => `${name}: ${value}\r\n`).join("");
  const body = encoder.encode(reply.body);
  const head = encoder.encode(
    `HTTP/1.1 ${status} ${PHRASES[status] ?? "Status"}\r\n` +
      `Content-Type: ${contentType}\r\nContent-Length: ${body.length}\r\n` +
      `Date: ${new Date().toUTCString()}\r\n${fields}${
        keepAlive ? "" : "Connection: close\r\n"
      }\r\n`,
  );
  if (isHead) return head;
  const bytes = new Uint8Array(head.length + body.length);
  bytes.set(head);
  bytes.set(body, head.length);
  return bytes;
}
