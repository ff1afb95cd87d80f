import { Deadline } from "../deadline.ts";
import { StoreError, StoreUnavailableError } from "../errors.ts";
import { isNetworkName } from "../network_name.ts";
import type { NameChange, NamesSnapshot, NetworkNames } from "../networks.ts";
import { type RemoteStoreOptions, UNNAMED_NETWORK } from "../options.ts";
import { readRemoteCredentials, type RemoteCredentials, RemoteHttp } from "./http.ts";
import { BACKOFF, churning, HELD, LONGEST_POLL } from "./poll.ts";
import { decodeNetworkWatch, type NetworkWatchAnswer, WireError } from "./protocol.ts";
import type { CallOptions, Cursor, WatchItem, WatchOptions } from "../store.ts";
import { WatchLink } from "../watch_link.ts";

/** As flannel 0.7.1's server has it: the listing of all networks. */
const PATH = "/v1/";

/**
 * Opens the names of the networks that a server of `-listen` serves, be it ours or flannel 0.7.1. No
 * connection is made yet.
 *
 * @throws {ConfigError} when a file of the credentials cannot be used
 */
export async function openRemoteNames(options: RemoteStoreOptions): Promise<NetworkNames> {
  return new RemoteNames(options, await readRemoteCredentials(options));
}

class RemoteNames implements NetworkNames {
  readonly name: string;
  readonly #http: RemoteHttp;

  constructor(options: RemoteStoreOptions, credentials: RemoteCredentials) {
    this.name = `flanneld server at ${options.servers.join()}`;
    this.#http = new RemoteHttp(options, credentials, PATH);
  }

  async snapshot({ signal }: CallOptions = {}): Promise<NamesSnapshot> {
    const answer = await this.#ask(signal);
    if (!("snapshot" in answer)) throw new StoreError("the server of -remote lists no networks");
    return { names: answer.snapshot.filter(isServed), cursor: answer.cursor };
  }

  async *watch(
    cursor: Cursor,
    options: WatchOptions,
  ): AsyncGenerator<WatchItem<NameChange, NamesSnapshot>, void> {
    // Ends with the names too.
    using life = new Deadline(Infinity, () => undefined, options.signal, this.#http.closed);
    const { signal } = life;
    const link = new WatchLink(BACKOFF, options.onState);
    let place = cursor;
    let isNew = false;
    while (!signal.aborted) {
      const started = performance.now();
      const standing = setTimeout(() => link.stands(), HELD);
      let answer: NetworkWatchAnswer;
      try {
        // Not in a finally below: a pause before the next attempt is no poll that is held.
        answer = await this.#ask(signal, place).finally(() => clearTimeout(standing));
      } catch (error) {
        if (signal.aborted) return;
        const isOver = performance.now() - started >= LONGEST_POLL - HELD;
        if (isOver && error instanceof StoreUnavailableError) this.#http.doubt();
        else await link.broken(error, signal);
        continue;
      }
      const isChurning = isNew && "snapshot" in answer &&
        performance.now() - started < BACKOFF.longestBackoff;
      isNew = "snapshot" in answer;
      if (!isChurning) link.stands();
      place = answer.cursor;
      if ("snapshot" in answer) {
        yield {
          type: "resync",
          reason: "the server does not know what has happened since",
          snapshot: { names: answer.snapshot.filter(isServed), cursor: place },
        };
        if (isChurning) await link.broken(churning(), signal);
        continue;
      }
      const changes = answer.events.filter(({ network }) => isServed(network))
        .map(({ type, network }): NameChange => ({ type, network }));
      if (changes.length > 0) yield { type: "changes", changes, cursor: place };
      else if (performance.now() - started < HELD) {
        await link.broken(new StoreUnavailableError("the server ends polls at once"), signal);
      }
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#http[Symbol.dispose]();
    return Promise.resolve();
  }

  async #ask(signal: AbortSignal | undefined, cursor?: Cursor): Promise<NetworkWatchAnswer> {
    const { status, text } = await this.#http.request({
      method: "GET",
      path: cursor === undefined ? PATH : `${PATH}?next=${encodeURIComponent(cursor)}`,
      signal,
      ...(cursor === undefined ? {} : { timeout: LONGEST_POLL }),
    });
    if (status !== 200) {
      throw new StoreError(`the server of -remote lists no networks: ${status} ${text.trim()}`);
    }
    try {
      return decodeNetworkWatch(text);
    } catch (cause) {
      if (!(cause instanceof WireError)) throw cause;
      throw new StoreError(`the server of -remote answers strangely: ${cause.message}`, { cause });
    }
  }
}

function isServed(name: string): boolean {
  return isNetworkName(name) && name !== UNNAMED_NETWORK;
}
