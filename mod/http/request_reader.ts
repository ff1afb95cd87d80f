import { Countdown } from "../async/countdown.ts";
import { concat } from "./bytes.ts";
import { closeQuietly, type Connection, writeAll } from "./connection.ts";
import { HttpError, parseHead, type RequestHead } from "./head.ts";
import type { HttpLimits } from "./limits.ts";

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

/** Bytes to read at a time before a request begins; every open connection allocates them. */
const FIRST_BYTES = 512;

/** Bytes to read at a time otherwise. */
const NEXT_BYTES = 4_096;

const NONE = new Uint8Array(0);

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Reads requests from a connection. It allocates memory as bytes arrive, not as a client announces them. */
export class RequestReader {
  readonly #connection: Connection;
  readonly #limits: HttpLimits;
  /** Received bytes that no request has consumed yet; at most the length of a head. */
  #buffer: Uint8Array<ArrayBuffer> = NONE;
  #reading: Promise<boolean> | undefined;

  constructor(connection: Connection, limits: HttpLimits) {
    this.#connection = connection;
    this.#limits = limits;
  }

  /** True when the buffer takes no more bytes before a request is consumed. */
  get isFull(): boolean {
    return this.#buffer.length >= this.#limits.head;
  }

  /**
   * Waits for a request.
   *
   * @returns `undefined` when the client closes the connection instead
   * @throws {HttpError} for a request that is not taken
   */
  async receive(): Promise<HttpRequest | undefined> {
    using countdown = new Countdown(this.#limits.idle, () => closeQuietly(this.#connection));
    if (this.#buffer.length === 0 && !await this.fill(FIRST_BYTES)) return undefined;
    countdown.restart(this.#limits.arrival);
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
      if (this.isFull) {
        throw new HttpError(
          431,
          `the head of the request is longer than ${this.#limits.head} bytes`,
        );
      }
      if (!await this.fill(NEXT_BYTES)) return undefined;
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
      if (this.#buffer.length === 0 && !await this.fill(NEXT_BYTES)) return undefined;
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
  async fill(most: number): Promise<boolean> {
    if (this.isFull) return true;
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

/** Index behind the empty line; `undefined` while it has not come. @param from where to begin to look */
function endOfHead(bytes: Uint8Array, from: number): number | undefined {
  for (let at = bytes.indexOf(10, from); at >= 0; at = bytes.indexOf(10, at + 1)) {
    if (bytes[at + 1] === 10) return at + 2;
    if (bytes[at + 1] === 13 && bytes[at + 2] === 10) return at + 3;
  }
  return undefined;
}
