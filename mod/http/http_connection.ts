import { Countdown } from "../async/countdown.ts";
import { closeQuietly, type Connection, writeAll } from "./connection.ts";
import { HttpError } from "./head.ts";
import type { HttpLimits } from "./limits.ts";
import type { AddressQuota } from "./quota.ts";
import { encodeReply, type HttpReply } from "./reply.ts";
import { type HttpRequest, RequestReader } from "./request_reader.ts";

/** Answers a request. The signal fires when the client has gone, or the server ends. */
export type HttpHandler = (request: HttpRequest, signal: AbortSignal) => Promise<HttpReply>;

/** State that all connections of a server share. */
export interface ServerState {
  readonly handler: HttpHandler;
  readonly limits: HttpLimits;
  /** Bytes of answers that are on their way. */
  readonly answers: AddressQuota;
}

/**
 * Bytes to read at a time while a request is answered, to notice a client that closes. Few, since each poll
 * allocates them.
 */
const PEEK_BYTES = 64;

/** Serves the requests of one connection. */
export class HttpConnection {
  readonly #connection: Connection;
  readonly #server: ServerState;
  readonly #limits: HttpLimits;
  readonly #requests: RequestReader;
  /** Of the request that is answered now; fires when its client has gone. */
  #gone: AbortController | undefined;
  #isClosed = false;

  constructor(connection: Connection, server: ServerState) {
    this.#connection = connection;
    this.#server = server;
    this.#limits = server.limits;
    this.#requests = new RequestReader(connection, server.limits);
  }

  /** Serves requests until either side closes the connection. Never rejects. */
  async serve(): Promise<void> {
    try {
      if (!await this.#handshake()) return;
      while (!this.#isClosed && await this.#serveOne());
    } catch {
      // The connection broke or timed out, so there is no client to answer.
    } finally {
      this.close();
    }
  }

  /** Closes the connection, and gives up the request that is answered. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#gone?.abort();
    closeQuietly(this.#connection);
  }

  /** Makes a handshake within the time that a request has to arrive, from the connection's begin on. */
  async #handshake(): Promise<boolean> {
    if (this.#connection.handshake === undefined) return true;
    using _ = new Countdown(this.#limits.arrival, () => this.close());
    return await this.#connection.handshake();
  }

  /** @returns whether another request may follow */
  async #serveOne(): Promise<boolean> {
    const request = await this.#requests.receive().catch((error) => {
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
    const gone = this.#gone = new AbortController();
    const leave = () => gone.abort();
    let isAnswered = false;
    const watch = async () => {
      // Reads on to notice a client that closes. The next request may come early, and waits. When it fills the
      // buffer, the end of the stream cannot be seen.
      while (!isAnswered) {
        if (this.#requests.isFull || !await this.#requests.fill(PEEK_BYTES)) return leave();
      }
    };
    watch().catch(leave);
    try {
      const reply = await this.#server.handler(request, gone.signal);
      return gone.signal.aborted ? undefined : reply;
    } finally {
      isAnswered = true;
      this.#gone = undefined;
    }
  }
}
