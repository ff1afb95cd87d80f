/**
 * HTTP/1.1 as a server that is spoken to by agents needs it, and no more: the runtime's own servers
 * limit neither connections nor the time that a request may take to arrive.
 *
 * @module
 */
import { Deadline } from "../store/deadline.ts";
import { HttpError, parseHead, type RequestHead } from "./http_head.ts";

/** One connection; Deno's are such. */
export interface Connection {
  /** The other end. */
  readonly remoteAddr: { readonly hostname: string };
  /** Subject of the certificate that the other end has shown, once the first bytes were read. */
  readonly subject?: string | undefined;
  /** Makes the handshake of a connection that has one; false when the other end closes instead. */
  handshake?(): Promise<boolean>;
  read(buffer: Uint8Array): Promise<number | null>;
  write(bytes: Uint8Array): Promise<number>;
  close(): void;
}

/** Where connections come from; closing it ends the iteration. */
export interface ConnectionSource extends AsyncIterable<Connection> {
  close(): void;
}

/** The other end of a connection. */
export interface Peer {
  readonly address: string;
  /** Of its client certificate; absent without one. */
  readonly subject?: string | undefined;
}

/** One request. */
export interface HttpRequest extends RequestHead {
  readonly body: string;
  readonly peer: Peer;
}

/** What a request is answered with. */
export interface HttpReply {
  readonly status: number;
  /** @default "text/plain; charset=utf-8" */
  readonly contentType?: string;
  readonly body: string;
}

/** Answers a request. The signal fires when the client has gone, or the server ends. */
export type HttpHandler = (request: HttpRequest, signal: AbortSignal) => Promise<HttpReply>;

/** Limits of {@linkcode serveHttp}. */
export interface HttpLimits {
  /** Connections at a time; one more is answered 503. */
  readonly connections: number;
  /** Bytes of a request's body; a longer one is answered 413. */
  readonly body: number;
  /** Bytes of a request's head; a longer one is answered 431. */
  readonly head: number;
  /** Milliseconds that a request has to arrive once its first byte has, or the handshake to end. */
  readonly arrival: number;
  /** Milliseconds that a connection may stand without a request. */
  readonly idle: number;
  /** Milliseconds that a client has to take an answer. */
  readonly departure: number;
}

/** What the server uses. */
export const DEFAULT_LIMITS: HttpLimits = {
  // Each of 5,000 agents holds up to three: its watch, its lease's watch, a call.
  connections: 16_384,
  // A lease's value is read up to 8 KiB, a config is no longer than etcd's limit of 1.5 MB allows,
  // and nobody writes one of more than a few KB.
  body: 65_536,
  head: 8_192,
  arrival: 10_000,
  // Longer than a client of ours keeps an idle connection: it must not meet one that is closing.
  idle: 60_000,
  departure: 60_000,
};

/**
 * Bytes that are read at a time while a request is answered, to see whether the client is still there:
 * few, since each poll has room for them.
 */
const GLIMPSE = 64;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/**
 * Answers requests until the signal aborts, or the source ends.
 *
 * @throws what the source throws
 */
export async function serveHttp(
  source: ConnectionSource,
  handler: HttpHandler,
  limits: HttpLimits,
  signal: AbortSignal,
): Promise<void> {
  const open = new Set<Promise<void>>();
  const close = () => source.close();
  signal.addEventListener("abort", close, { once: true });
  try {
    if (signal.aborted) return source.close();
    for await (const connection of source) {
      const serving = open.size < limits.connections
        ? new HttpConnection(connection, handler, limits, signal).serve()
        : turnAway(connection, limits);
      const done = serving.finally(() => open.delete(done));
      open.add(done);
    }
  } finally {
    signal.removeEventListener("abort", close);
    await Promise.all(open);
  }
}

async function turnAway(connection: Connection, { departure }: HttpLimits): Promise<void> {
  const body = "the server has as many connections as it takes; try again later\n";
  await writeAll(connection, encodeReply({ status: 503, body }, false), departure).catch(() => {});
  closeQuietly(connection);
}

class HttpConnection {
  readonly #connection: Connection;
  readonly #handler: HttpHandler;
  readonly #limits: HttpLimits;
  readonly #signal: AbortSignal;
  readonly #buffer: Uint8Array<ArrayBuffer>;
  /** Bytes of the buffer that are there and not used. */
  #filled = 0;
  #reading: Promise<boolean> | undefined;
  #isClosed = false;

  constructor(
    connection: Connection,
    handler: HttpHandler,
    limits: HttpLimits,
    signal: AbortSignal,
  ) {
    this.#connection = connection;
    this.#handler = handler;
    this.#limits = limits;
    this.#signal = signal;
    this.#buffer = new Uint8Array(limits.head);
  }

  /** Serves until either side has had enough. Never rejects. */
  async serve(): Promise<void> {
    const close = () => this.#close();
    this.#signal.addEventListener("abort", close);
    try {
      if (!await this.#handshake()) return;
      while (!this.#isClosed && await this.#serveOne());
    } catch {
      // The connection broke, or its time was over: there is nobody to tell.
    } finally {
      this.#signal.removeEventListener("abort", close);
      this.#close();
    }
  }

  get #isFull(): boolean {
    return this.#filled === this.#buffer.length;
  }

  #close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    closeQuietly(this.#connection);
  }

  /** Makes a handshake within the time that a request has to arrive, from the connection's begin on. */
  async #handshake(): Promise<boolean> {
    if (this.#connection.handshake === undefined) return true;
    using deadline = new Deadline(this.#limits.arrival, () => undefined);
    const close = () => this.#close();
    deadline.signal.addEventListener("abort", close);
    try {
      return await this.#connection.handshake();
    } finally {
      deadline.signal.removeEventListener("abort", close);
    }
  }

  /** @returns whether another request may follow */
  async #serveOne(): Promise<boolean> {
    const { idle, arrival } = this.#limits;
    const request = await this.#receive(idle, arrival).catch((error) => {
      if (error instanceof HttpError) return error;
      throw error;
    });
    if (request === undefined) return false;
    if (request instanceof HttpError) {
      await this.#reply({ status: request.status, body: `${request.message}\n` }, false);
      return false;
    }
    const reply = await this.#handle(request);
    if (reply === undefined) return false;
    await this.#reply(reply, request.keepAlive, request.method === "HEAD");
    return request.keepAlive;
  }

  async #reply(reply: HttpReply, keepAlive: boolean, isHead = false): Promise<void> {
    const bytes = encodeReply(reply, keepAlive, isHead);
    await writeAll(this.#connection, bytes, this.#limits.departure);
  }

  /** Runs the handler; `undefined` when the client went away meanwhile. */
  async #handle(request: HttpRequest): Promise<HttpReply | undefined> {
    const gone = new AbortController();
    const leave = () => gone.abort();
    this.#signal.addEventListener("abort", leave);
    let isAnswered = false;
    const watch = async () => {
      // The next request may come early, and waits its turn; the end of the stream does not. Behind more
      // than a head it would not be seen.
      while (!isAnswered) if (this.#isFull || !await this.#fill(GLIMPSE)) return leave();
    };
    watch().catch(leave);
    try {
      const reply = await this.#handler(request, gone.signal);
      return gone.signal.aborted ? undefined : reply;
    } finally {
      isAnswered = true;
      this.#signal.removeEventListener("abort", leave);
    }
  }

  /** @returns `undefined` when the client closes the connection instead */
  async #receive(idle: number, arrival: number): Promise<HttpRequest | undefined> {
    using deadline = new Deadline(idle, () => undefined);
    const close = () => this.#close();
    deadline.signal.addEventListener("abort", close);
    try {
      if (this.#filled === 0 && !await this.#fill()) return undefined;
      deadline.extend(arrival, () => undefined);
      let head: RequestHead | undefined;
      let length = 0;
      for (;;) {
        const end = endOfHead(this.#buffer.subarray(0, this.#filled));
        if (end !== undefined) {
          head = parseHead(decoder.decode(this.#buffer.subarray(0, end)));
          length = end;
          break;
        }
        if (this.#isFull) {
          throw new HttpError(431, `the head of the request is longer than ${this.#filled} bytes`);
        }
        if (!await this.#fill()) return undefined;
      }
      this.#take(length);
      const body = await this.#body(head);
      const { remoteAddr, subject } = this.#connection;
      const peer = { address: remoteAddr.hostname, subject };
      return body === undefined ? undefined : { ...head, body, peer };
    } finally {
      deadline.signal.removeEventListener("abort", close);
    }
  }

  async #body({ contentLength, expectsContinue }: RequestHead): Promise<string | undefined> {
    if (contentLength > this.#limits.body) {
      throw new HttpError(413, `the body is longer than ${this.#limits.body} bytes`);
    }
    if (contentLength === 0) return "";
    if (expectsContinue) {
      const proceed = encoder.encode("HTTP/1.1 100 Continue\r\n\r\n");
      await writeAll(this.#connection, proceed, this.#limits.departure);
    }
    const body = new Uint8Array(contentLength);
    for (let at = 0; at < contentLength;) {
      if (this.#filled === 0 && !await this.#fill()) return undefined;
      const count = Math.min(this.#filled, contentLength - at);
      body.set(this.#buffer.subarray(0, count), at);
      this.#take(count);
      at += count;
    }
    return decoder.decode(body);
  }

  /** Removes the first bytes from the buffer. */
  #take(count: number): void {
    this.#buffer.copyWithin(0, count, this.#filled);
    this.#filled -= count;
  }

  /**
   * Takes what comes next into the buffer; false at the end. Two calls at a time wait for one reading.
   *
   * @param most bytes of it
   */
  async #fill(most = this.#buffer.length): Promise<boolean> {
    if (this.#isFull) return true;
    this.#reading ??= this.#read(Math.min(most, this.#buffer.length - this.#filled));
    return await this.#reading;
  }

  async #read(most: number): Promise<boolean> {
    // Not into the buffer, of which something may be used, and the rest moved, before this comes.
    const piece = new Uint8Array(most);
    try {
      const count = await this.#connection.read(piece);
      if (count === null) return false;
      this.#buffer.set(piece.subarray(0, count), this.#filled);
      this.#filled += count;
      return true;
    } finally {
      this.#reading = undefined;
    }
  }
}

/** Index behind the empty line; `undefined` while it has not come. */
function endOfHead(bytes: Uint8Array): number | undefined {
  for (let at = bytes.indexOf(10); at >= 0; at = bytes.indexOf(10, at + 1)) {
    if (bytes[at + 1] === 10) return at + 2;
    if (bytes[at + 1] === 13 && bytes[at + 2] === 10) return at + 3;
  }
  return undefined;
}

/** RFC 9110's phrases of what is answered here. */
const PHRASES: Readonly<Record<number, string>> = {
  200: "OK",
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  409: "Conflict",
  411: "Length Required",
  413: "Content Too Large",
  415: "Unsupported Media Type",
  421: "Misdirected Request",
  431: "Request Header Fields Too Large",
  500: "Internal Server Error",
  501: "Not Implemented",
  503: "Service Unavailable",
  505: "HTTP Version Not Supported",
};

function encodeReply(reply: HttpReply, keepAlive: boolean, isHead = false): Uint8Array {
  const { status, contentType = "text/plain; charset=utf-8" } = reply;
  const body = encoder.encode(reply.body);
  const head = encoder.encode(
    `HTTP/1.1 ${status} ${PHRASES[status] ?? "Status"}\r\n` +
      `Content-Type: ${contentType}\r\nContent-Length: ${body.length}\r\n` +
      `Date: ${new Date().toUTCString()}\r\n${keepAlive ? "" : "Connection: close\r\n"}\r\n`,
  );
  if (isHead) return head;
  const bytes = new Uint8Array(head.length + body.length);
  bytes.set(head);
  bytes.set(body, head.length);
  return bytes;
}

async function writeAll(connection: Connection, bytes: Uint8Array, ms: number): Promise<void> {
  using deadline = new Deadline(ms, () => undefined);
  const close = () => closeQuietly(connection);
  deadline.signal.addEventListener("abort", close);
  try {
    for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
  } finally {
    deadline.signal.removeEventListener("abort", close);
  }
}

function closeQuietly(connection: Connection): void {
  try {
    connection.close();
  } catch {
    // It is closed already.
  }
}
