/**
 * HTTP/1.1 server for agents and monitors. The runtime's own servers limit neither connections nor the time
 * that a request may take to arrive.
 *
 * It allocates memory as bytes arrive, not as a client announces them.
 *
 * @module
 */
import { concat } from "./bytes.ts";
import { HttpError, parseHead, type RequestHead } from "./head.ts";
import { AddressQuota } from "./quota.ts";
import { encodeReply, type HttpReply } from "./reply.ts";

/** One connection, such as a `Deno.Conn`. */
export interface Connection {
  /** The other end. */
  readonly remoteAddr: { readonly hostname: string };
  /** Subject of the client certificate, known after the first read. */
  readonly subject?: string | undefined;
  /** Makes the TLS handshake; resolves to false when the other end closes the connection. */
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

/** Answers a request. The signal fires when the client has gone, or the server ends. */
export type HttpHandler = (request: HttpRequest, signal: AbortSignal) => Promise<HttpReply>;

/** Limits of {@linkcode serveHttp}. */
export interface HttpLimits {
  /** Connections at a time; one more is answered 503, or closed where it has yet to make a handshake. */
  readonly connections: number;
  /** Likewise of one address. */
  readonly connectionsPerAddress: number;
  /** Bytes of answers that one address has not received yet; further answers are 503. */
  readonly answersPerAddress: number;
  /** Bytes of a request's body; a longer one is answered 413. */
  readonly body: number;
  /** Bytes of a request's head; a longer one is answered 431. */
  readonly head: number;
  /** Milliseconds that a request has to arrive once its first byte has, or the handshake to end. */
  readonly arrival: number;
  /** Milliseconds that a connection may be idle. */
  readonly idle: number;
  /** Milliseconds within which a client must receive an answer. */
  readonly departure: number;
}

/**
 * Bytes to read at a time while a request is answered, to notice a client that closes. Few, since each poll
 * allocates them.
 */
const PEEK_BYTES = 64;

/** Bytes to read at a time before a request begins; every open connection allocates them. */
const FIRST_BYTES = 512;

/** Bytes to read at a time otherwise. */
const NEXT_BYTES = 4_096;

const NONE = new Uint8Array(0);

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
  const server = { handler, limits, signal, answers: new AddressQuota(limits.answersPerAddress) };
  const quota = new AddressQuota(limits.connectionsPerAddress);
  const open = new Set<Promise<void>>();
  const close = () => source.close();
  signal.addEventListener("abort", close, { once: true });
  try {
    if (signal.aborted) return source.close();
    for await (const connection of source) {
      const address = connection.remoteAddr.hostname;
      let serving: Promise<void>;
      if (open.size >= limits.connections) {
        serving = turnAway(connection, "the server has reached its limit of connections", limits);
      } else if (!quota.take(address)) {
        const many = `${address} has ${limits.connectionsPerAddress} connections already`;
        serving = turnAway(connection, many, limits);
      } else {
        serving = new HttpConnection(connection, server).serve()
          .finally(() => quota.release(address));
      }
      const done = serving.finally(() => open.delete(done));
      open.add(done);
    }
  } finally {
    signal.removeEventListener("abort", close);
    await Promise.all(open);
  }
}

async function turnAway(
  connection: Connection,
  reason: string,
  { departure }: HttpLimits,
): Promise<void> {
  // A refusal needs no handshake.
  if (connection.handshake === undefined) {
    const bytes = encodeReply({ status: 503, body: `${reason}; try again later\n` }, false);
    await writeAll(connection, bytes, departure).catch(() => {});
  }
  closeQuietly(connection);
}

/** State that all connections of a server share. */
interface Server {
  readonly handler: HttpHandler;
  readonly limits: HttpLimits;
  readonly signal: AbortSignal;
  /** Bytes of answers that are on their way. */
  readonly answers: AddressQuota;
}

class HttpConnection {
  readonly #connection: Connection;
  readonly #server: Server;
  readonly #limits: HttpLimits;
  readonly #signal: AbortSignal;
  /** Received bytes that no request has consumed yet; at most the length of a head. */
  #buffer: Uint8Array<ArrayBuffer> = NONE;
  #reading: Promise<boolean> | undefined;
  #isClosed = false;

  constructor(connection: Connection, server: Server) {
    this.#connection = connection;
    this.#server = server;
    this.#limits = server.limits;
    this.#signal = server.signal;
  }

  /** Serves requests until either side closes the connection. Never rejects. */
  async serve(): Promise<void> {
    const close = () => this.#close();
    this.#signal.addEventListener("abort", close);
    try {
      if (!await this.#handshake()) return;
      while (!this.#isClosed && await this.#serveOne());
    } catch {
      // The connection broke or timed out, so there is no client to answer.
    } finally {
      this.#signal.removeEventListener("abort", close);
      this.#close();
    }
  }

  get #isFull(): boolean {
    return this.#buffer.length >= this.#limits.head;
  }

  #close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    closeQuietly(this.#connection);
  }

  /** Makes a handshake within the time that a request has to arrive, from the connection's begin on. */
  async #handshake(): Promise<boolean> {
    if (this.#connection.handshake === undefined) return true;
    using _ = new Countdown(this.#limits.arrival, () => this.#close());
    return await this.#connection.handshake();
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
    const { answers, limits } = this.#server;
    const address = this.#connection.remoteAddr.hostname;
    let bytes = encodeReply(reply, keepAlive, isHead);
    if (!answers.take(address, bytes.length)) {
      const body = `${address} has not received earlier answers yet; try again later\n`;
      bytes = encodeReply({ status: 503, body }, keepAlive, isHead);
      return await writeAll(this.#connection, bytes, limits.departure);
    }
    try {
      await writeAll(this.#connection, bytes, limits.departure);
    } finally {
      answers.release(address, bytes.length);
    }
  }

  /** Runs the handler; `undefined` when the client went away meanwhile. */
  async #handle(request: HttpRequest): Promise<HttpReply | undefined> {
    const gone = new AbortController();
    const leave = () => gone.abort();
    this.#signal.addEventListener("abort", leave);
    let isAnswered = false;
    const watch = async () => {
      // Reads on to notice a client that closes. The next request may come early, and waits. When it fills the
      // buffer, the end of the stream cannot be seen.
      while (!isAnswered) if (this.#isFull || !await this.#fill(PEEK_BYTES)) return leave();
    };
    watch().catch(leave);
    try {
      const reply = await this.#server.handler(request, gone.signal);
      return gone.signal.aborted ? undefined : reply;
    } finally {
      isAnswered = true;
      this.#signal.removeEventListener("abort", leave);
    }
  }

  /** @returns `undefined` when the client closes the connection instead */
  async #receive(idle: number, arrival: number): Promise<HttpRequest | undefined> {
    using countdown = new Countdown(idle, () => this.#close());
    if (this.#buffer.length === 0 && !await this.#fill(FIRST_BYTES)) return undefined;
    countdown.restart(arrival);
    const length = await this.#headLength();
    if (length === undefined) return undefined;
    const head = parseHead(decoder.decode(this.#buffer.subarray(0, length)));
    this.#take(length);
    const body = await this.#body(head);
    const { remoteAddr, subject } = this.#connection;
    const peer = { address: remoteAddr.hostname, subject };
    return body === undefined ? undefined : { ...head, body, peer };
  }

  /** Waits until the head is there. @returns its bytes; `undefined` at the end of the stream */
  async #headLength(): Promise<number | undefined> {
    for (let searched = 0;;) {
      const end = endOfHead(this.#buffer, searched);
      if (end !== undefined) return end;
      // The empty line may have come in part: two line feeds with a carriage return between.
      searched = Math.max(0, this.#buffer.length - 2);
      if (this.#isFull) {
        throw new HttpError(
          431,
          `the head of the request is longer than ${this.#limits.head} bytes`,
        );
      }
      if (!await this.#fill(NEXT_BYTES)) return undefined;
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
    let body = new Uint8Array(Math.min(contentLength, NEXT_BYTES));
    for (let at = 0; at < contentLength;) {
      if (this.#buffer.length === 0 && !await this.#fill(NEXT_BYTES)) return undefined;
      const piece = this.#take(Math.min(this.#buffer.length, contentLength - at));
      if (at + piece.length > body.length) {
        // At most twice the received bytes, whatever the client announced.
        const length = Math.min(contentLength, Math.max(body.length * 2, at + piece.length));
        body = concat([body.subarray(0, at), new Uint8Array(length - at)]);
      }
      body.set(piece, at);
      at += piece.length;
    }
    return decoder.decode(body);
  }

  /** Removes the first bytes from the buffer. */
  #take(count: number): Uint8Array<ArrayBuffer> {
    const taken = this.#buffer.subarray(0, count);
    this.#buffer = count === this.#buffer.length ? NONE : this.#buffer.slice(count);
    return taken;
  }

  /**
   * Reads the next bytes into the buffer; resolves to false at the end of the stream. Two calls share one read.
   *
   * @param most bytes of it
   */
  async #fill(most: number): Promise<boolean> {
    if (this.#isFull) return true;
    this.#reading ??= this.#read(Math.min(most, this.#limits.head - this.#buffer.length));
    return await this.#reading;
  }

  async #read(most: number): Promise<boolean> {
    const piece = new Uint8Array(most);
    try {
      const count = await this.#connection.read(piece);
      if (count === null) return false;
      this.#buffer = concat([this.#buffer, piece.subarray(0, count)]);
      return true;
    } finally {
      this.#reading = undefined;
    }
  }
}

/** Calls a function after a time, unless it is disposed of before. */
class Countdown implements Disposable {
  readonly #over: () => void;
  #timer: ReturnType<typeof setTimeout>;

  /** @param ms milliseconds */
  constructor(ms: number, over: () => void) {
    this.#over = over;
    this.#timer = setTimeout(over, ms);
  }

  restart(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(this.#over, ms);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }
}

/** Index behind the empty line; `undefined` while it has not come. @param from where to begin to look */
function endOfHead(bytes: Uint8Array, from: number): number | undefined {
  for (let at = bytes.indexOf(10, from); at >= 0; at = bytes.indexOf(10, at + 1)) {
    if (bytes[at + 1] === 10) return at + 2;
    if (bytes[at + 1] === 13 && bytes[at + 2] === 10) return at + 3;
  }
  return undefined;
}

async function writeAll(connection: Connection, bytes: Uint8Array, ms: number): Promise<void> {
  using _ = new Countdown(ms, () => closeQuietly(connection));
  for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
}

function closeQuietly(connection: Connection): void {
  try {
    connection.close();
  } catch {
    // It is closed already.
  }
}
