import type { LeaseForm } from "../../lease/mod.ts";
import { info } from "../../observe/log/log.ts";
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
import { readRemoteCredentials, type RemoteCredentials, RemoteHttp } from "./http.ts";
import type { RemoteStoreOptions } from "./options.ts";
import { BACKOFF, churning, MIN_HELD_MS } from "./poll.ts";
import type { ReloadedFiles } from "./reloaded_files.ts";
import { RemoteSession } from "./session.ts";
import { NAMES_PATH } from "./wire.ts";

/**
 * Opens one network of a `-listen` server. The keys of the network begin with its name; the leaves of the empty
 * prefix are the configs of all networks, without their texts. No connection is made yet.
 *
 * @throws {ConfigError} when a file of the credentials cannot be used
 */
export async function openRemote(options: RemoteStoreOptions): Promise<Kv> {
  return new RemoteKv(options, await readRemoteCredentials(options));
}

class RemoteKv implements Kv {
  readonly name: string;
  readonly #http: RemoteHttp;
  readonly #network: RemoteSession;
  readonly #names: RemoteSession;
  /** True while the server that answers is known to have this version. */
  #isChecked = false;
  #isLogged = false;

  constructor(
    options: RemoteStoreOptions,
    credentials: ReloadedFiles<RemoteCredentials>,
  ) {
    const { network = UNNAMED_NETWORK } = options;
    this.name = `flanneld server at ${options.servers.join()}`;
    const base = `/v1/${network}/store`;
    this.#http = new RemoteHttp(options, credentials, `${base}/version`);
    this.#network = new RemoteSession(this.#http, `/${network}`, base);
    this.#names = new RemoteSession(this.#http, "", NAMES_PATH);
  }

  get leaseForm(): LeaseForm {
    return this.#network.leaseForm;
  }

  get(key: string, options?: GetOptions): Promise<KvEntry | undefined> {
    return this.#with(options, () => this.#network.get(key, options));
  }

  list(range: KeyRange, options?: CallOptions): Promise<Listing> {
    return this.#with(options, () => this.#sessionOf(range).list(range, options));
  }

  put(key: string, value: string, options: PutOptions): Promise<KvEntry> {
    return this.#with(options, () => this.#network.put(key, value, options));
  }

  delete(key: string, options: DeleteOptions): Promise<void> {
    return this.#with(options, () => this.#network.delete(key, options));
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
    const session = this.#sessionOf(range);
    let at = cursor;
    let isNew = false;
    while (!signal.aborted) {
      let started = performance.now();
      let item: KvWatchItem | undefined;
      try {
        const result = await this.#with({ signal }, () => {
          started = performance.now();
          const standing = setTimeout(() => link.stands(), MIN_HELD_MS);
          return session.poll(at, signal).finally(() => clearTimeout(standing));
        });
        item = "snapshot" in result
          ? { type: "resync", ...result }
          : { type: "changes", ...result };
      } catch (error) {
        if (signal.aborted) return;
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

  #sessionOf({ leaf }: KeyRange): RemoteSession {
    return leaf === undefined ? this.#network : this.#names;
  }

  /** Makes a call to a server of this version. Checks that again when the server was away: another may come. */
  async #with<T>({ signal }: CallOptions = {}, call: () => Promise<T>): Promise<T> {
    try {
      if (!this.#isChecked) await this.#network.checkVersion(signal);
      this.#isChecked = true;
      if (!this.#isLogged) info(`Using the whole store of the ${this.name}`);
      this.#isLogged = true;
      return await call();
    } catch (error) {
      if (error instanceof StoreUnavailableError) this.#isChecked = false;
      throw error;
    }
  }
}
