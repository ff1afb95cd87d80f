import type { LeaseForm } from "../../lease/mod.ts";
import { info, warning } from "../../observe/log/log.ts";
import { linkedSignal } from "../deadline.ts";
import { StoreUnavailableError } from "../errors.ts";
import type {
  CallOptions,
  Cursor,
  DeleteOptions,
  GetOptions,
  KeyRange,
  Kv,
  KvEntry,
  KvWatchItem,
  Listing,
  PutOptions,
  WatchOptions,
} from "../kv/kv.ts";
import { UNNAMED_NETWORK } from "../network_name.ts";
import { WatchLink } from "../watch_link.ts";
import { FlannelNames } from "./flannel/names.ts";
import { FlannelSession } from "./flannel/session.ts";
import { readRemoteCredentials, type RemoteCredentials, RemoteHttp } from "./http.ts";
import { NativeSession, UnsupportedServerError } from "./native_session.ts";
import type { RemoteStoreOptions } from "./options.ts";
import { BACKOFF, churning, MIN_HELD_MS } from "./poll.ts";
import type { PolledRange, RemoteSession } from "./session.ts";

/**
 * Opens one network of a `-listen` server: of a flanneld its whole store, of a flannel 0.7.1 what its protocol
 * has. The keys of the network begin with its name; the leaves of the empty prefix are the configs of all
 * networks, without their texts. No connection is made yet.
 *
 * @throws {ConfigError} when a file of the credentials cannot be used
 */
export async function openRemote(options: RemoteStoreOptions): Promise<Kv> {
  return new RemoteKv(options, await readRemoteCredentials(options));
}

class RemoteKv implements Kv {
  readonly name: string;
  readonly #http: RemoteHttp;
  readonly #native: NativeSession;
  readonly #flannel: FlannelSession;
  readonly #names: FlannelNames;
  /** The protocol of the server that answers, once that is known. */
  #session: RemoteSession | undefined;
  /** The protocol that was logged last. */
  #logged: RemoteSession | undefined;

  constructor(options: RemoteStoreOptions, credentials: RemoteCredentials) {
    const { network = UNNAMED_NETWORK } = options;
    this.name = `flanneld server at ${options.servers.join()}`;
    this.#http = new RemoteHttp(options, credentials, `/v1/${network}/store/version`);
    this.#native = new NativeSession(this.#http, network);
    this.#flannel = new FlannelSession(this.#http, network);
    this.#names = new FlannelNames(this.#http);
  }

  get leaseForm(): LeaseForm {
    // An unreachable server has not changed the form of its leases.
    return (this.#session ?? this.#logged)?.leaseForm ?? "v0.7";
  }

  /** Present while the server is one that chooses subnets by itself. */
  get assign(): Kv["assign"] {
    if (this.#session !== this.#flannel) return undefined;
    return (directory, value, options) =>
      this.#with(options, (session) => {
        if (session.assign !== undefined) return session.assign(directory, value, options);
        throw new StoreUnavailableError(SERVER_CHANGED);
      });
  }

  get(key: string, options?: GetOptions): Promise<KvEntry | undefined> {
    return this.#with(options, (session) => session.get(key, options));
  }

  list(range: KeyRange, options?: CallOptions): Promise<Listing> {
    if (range.leaf !== undefined) return this.#names.list(range, options);
    return this.#with(options, (session) => session.list(range, options));
  }

  put(key: string, value: string, options: PutOptions): Promise<KvEntry> {
    return this.#with(options, (session) => session.put(key, value, options));
  }

  delete(key: string, options: DeleteOptions): Promise<void> {
    return this.#with(options, (session) => session.delete(key, options));
  }

  async *watch(
    range: KeyRange,
    cursor: Cursor,
    options: WatchOptions,
  ): AsyncGenerator<KvWatchItem, void> {
    // Ends with the client too.
    using life = linkedSignal(options.signal, this.#http.closed);
    const { signal } = life;
    const link = new WatchLink(BACKOFF, options.onState);
    const find = range.leaf === undefined ? () => this.#find(signal) : () => this.#names;
    let at = cursor;
    let followed: PolledRange | undefined = this.#session;
    let isNew = false;
    while (!signal.aborted) {
      let started = performance.now();
      let item: KvWatchItem | undefined;
      try {
        const polled = await find();
        if (range.leaf === undefined && followed !== undefined && polled !== followed) {
          const snapshot = await polled.list(range, { signal });
          item = { type: "resync", reason: SERVER_CHANGED, snapshot };
        } else {
          started = performance.now();
          const standing = setTimeout(() => link.stands(), MIN_HELD_MS);
          const result = await polled.poll(at, signal).finally(() => clearTimeout(standing));
          item = "snapshot" in result
            ? { type: "resync", ...result }
            : { type: "changes", ...result };
        }
        followed = polled;
      } catch (error) {
        if (signal.aborted) return;
        this.#recheck(error);
        await link.broken(error, signal);
        continue;
      }
      const elapsed = performance.now() - started;
      const hasNews = item.type === "resync" || item.changes.length > 0;
      const isChurning = isNew && item.type === "resync" && elapsed < BACKOFF.longestBackoff;
      isNew = item.type === "resync";
      if (!isChurning) link.stands();
      at = item.type === "resync" ? item.snapshot.cursor : item.cursor;
      if (hasNews) yield item;
      if (isChurning) await link.broken(churning(), signal);
      // The limit of the server or of this client has ended the poll: check the server before the next one.
      else if (!hasNews && elapsed >= MIN_HELD_MS) this.#http.recheckEndpoint();
      else if (!hasNews) {
        await link.broken(new StoreUnavailableError("the server ends polls at once"), signal);
      }
    }
  }

  reconnect(): void {
    this.#http.reconnect();
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#http[Symbol.dispose]();
    return Promise.resolve();
  }

  async #with<T>(
    options: CallOptions | undefined,
    call: (session: RemoteSession) => Promise<T>,
  ): Promise<T> {
    try {
      return await call(await this.#find(options?.signal));
    } catch (error) {
      this.#recheck(error);
      if (!(error instanceof UnsupportedServerError)) throw error;
    }
    return await call(await this.#find(options?.signal));
  }

  /** Another server may answer next, or the same one in another version. */
  #recheck(error: unknown): void {
    if (error instanceof UnsupportedServerError || error instanceof StoreUnavailableError) {
      this.#session = undefined;
    }
  }

  /** Finds the protocol of the server. */
  async #find(signal: AbortSignal | undefined): Promise<RemoteSession> {
    if (this.#session !== undefined) return this.#session;
    const isNative = await this.#native.isServed({ signal });
    if (!isNative) await this.#flannel.probe({ signal });
    const session = this.#session = isNative ? this.#native : this.#flannel;
    if (this.#logged !== session) {
      this.#logged = session;
      if (isNative) info(`Using the whole store of the ${this.name}`);
      else {
        warning(
          `The ${this.name} speaks flannel 0.7.1's protocol only: two hosts with one public IP are ` +
            `not noticed, and a changed network config is within half a minute`,
        );
      }
    }
    return session;
  }
}

const SERVER_CHANGED = "the server of -remote has become another one";
