import type { LeaseForm } from "../../lease/mod.ts";
import { AccessError, ConflictError, StoreError, StoreUnavailableError } from "../errors.ts";
import type {
  CallOptions,
  Cursor,
  DeleteOptions,
  GetOptions,
  KeyRange,
  KvChange,
  KvEntry,
  Listing,
  PutOptions,
} from "../kv/kv.ts";
import type { RemoteHttp, RemoteRequest } from "./http.ts";
import {
  decodeEntry,
  decodeListing,
  decodePoll,
  encodePut,
  GONE,
  HELD_POLL_MS,
  requireVersion,
  type WireListing,
} from "./wire.ts";
import { WireError } from "./wire_error.ts";
import { truncate } from "../../text/mod.ts";

/** Milliseconds to wait for the answer to a poll beyond the server's limit. */
const POLL_SLACK_MS = 10_000;

/** Result of one long poll. */
export type PollResult =
  | { readonly changes: readonly KvChange[]; readonly cursor: Cursor }
  | { readonly reason: string; readonly snapshot: Listing };

/** Requests for one directory of a server: a network, or the names of all. */
export class RemoteSession {
  /** That of the server's store, once it was listed. */
  leaseForm: LeaseForm = "v0.7";
  readonly #http: RemoteHttp;
  /** Directory of the keys here. */
  readonly #prefix: string;
  /** Path of the directory at the server. */
  readonly #base: string;

  constructor(http: RemoteHttp, prefix: string, base: string) {
    this.#http = http;
    this.#prefix = prefix;
    this.#base = base;
  }

  /** @throws {StoreError} when the server has another version of the messages, or is no flanneld */
  async checkVersion(signal: AbortSignal | undefined): Promise<void> {
    decodeAnswer(await this.#ask({ method: "GET", path: "/version", signal }), requireVersion);
  }

  async get(key: string, { ttl, signal }: GetOptions = {}): Promise<KvEntry | undefined> {
    const path = this.#path(key) + (ttl ? "?ttl=1" : "");
    const text = await this.#ask({ method: "GET", path, signal });
    return text === GONE ? undefined : this.#entry(decodeAnswer(text, decodeEntry));
  }

  async list(_range: KeyRange, { signal }: CallOptions = {}): Promise<Listing> {
    const text = await this.#ask({ method: "GET", path: "", signal });
    return this.#listing(decodeAnswer(text, decodeListing));
  }

  async put(
    key: string,
    value: string,
    { expect, ttl, signal }: PutOptions,
  ): Promise<KvEntry> {
    const body = encodePut({ value, ttl, expect });
    const text = await this.#ask({ method: "PUT", path: this.#path(key), body, signal });
    return this.#entry(decodeAnswer(text, decodeEntry));
  }

  async delete(key: string, { expect, signal }: DeleteOptions): Promise<void> {
    const query = expect === "any" ? "" : `?revision=${encodeURIComponent(expect.revision)}`;
    await this.#ask({ method: "DELETE", path: this.#path(key) + query, signal });
  }

  async poll(cursor: Cursor, signal: AbortSignal): Promise<PollResult> {
    const path = `?next=${encodeURIComponent(cursor)}`;
    const timeout = HELD_POLL_MS + POLL_SLACK_MS;
    const text = await this.#ask({ method: "GET", path, signal, timeout });
    const answer = decodeAnswer(text, decodePoll);
    return "listing" in answer
      ? { reason: answer.reason, snapshot: this.#listing(answer.listing) }
      : { ...answer, changes: answer.changes.map((change) => this.#change(change)) };
  }

  /** Path of a key of the network below `/store`. */
  #path(key: string): string {
    return key.slice(this.#prefix.length);
  }

  #entry(entry: KvEntry): KvEntry {
    return { ...entry, key: `${this.#prefix}/${entry.key}` };
  }

  #change(change: KvChange): KvChange {
    return change.type === "put"
      ? { type: "put", entry: this.#entry(change.entry) }
      : { ...change, key: `${this.#prefix}/${change.key}` };
  }

  #listing({ entries, cursor, missing, leaseForm }: WireListing): Listing {
    this.leaseForm = leaseForm;
    return {
      entries: entries.map((entry) => this.#entry(entry)),
      cursor,
      missing: () => missing,
    };
  }

  async #ask(request: RemoteRequest): Promise<string> {
    const { server, status, text } = await this.#http.request({
      ...request,
      path: this.#base + request.path,
    });
    if (status === 200 || (status === 404 && text === GONE)) return text;
    const words = truncate(text.trim(), 500);
    switch (status) {
      case 404: {
        const place = server.replace(/^https?:\/\//, "");
        throw new StoreError(
          `there is no flanneld -listen of this version at ${place}: it answers ${status}: ${words}`,
        );
      }
      case 401:
      case 403:
      case 429:
        throw new AccessError(`the server of -remote refuses this: ${words}`);
      case 409:
        throw new ConflictError(words);
      // A proxy before it answers 502 or 504.
      case 502:
      case 503:
      case 504:
        throw new StoreUnavailableError(`the server of -remote answers ${status}: ${words}`);
      default:
        throw new StoreError(`the server of -remote answers ${status}: ${words}`);
    }
  }
}

/** Decodes what a server answered. @throws {StoreError} when that is not possible */
function decodeAnswer<T>(text: string, decoder: (text: string) => T): T {
  try {
    return decoder(text);
  } catch (cause) {
    if (!(cause instanceof WireError)) throw cause;
    throw new StoreError(`the answer of the server of -remote cannot be read: ${cause.message}`, {
      cause,
    });
  }
}
