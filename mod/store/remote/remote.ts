import type { IPv4, Prefix } from "../../ip/mod.ts";
import type {
  Lease,
  LeaseAttributes,
  LeaseForm,
  NodeRecord,
  StoredNodeRecord,
} from "../../lease/mod.ts";
import { info, warning } from "../../observe/log/log.ts";
import { Deadline } from "../deadline.ts";
import { StoreUnavailableError } from "../errors.ts";
import { type RemoteStoreOptions, UNNAMED_NETWORK } from "../options.ts";
import { FlannelSession } from "./flannel.ts";
import { readRemoteCredentials, type RemoteCredentials, RemoteHttp } from "./http.ts";
import { BACKOFF, churning, HELD } from "./poll.ts";
import type { RemoteSession } from "./session.ts";
import { NotOursError, WholeSession } from "./whole.ts";
import type { CallOptions, Cursor, Snapshot, Store, WatchItem, WatchOptions } from "../store.ts";
import { WatchLink } from "../watch_link.ts";

/**
 * Opens the store of a server of `-listen`: of a flanneld of ours all of it, of a flannel 0.7.1 what its
 * protocol has. No connection is made yet.
 *
 * @throws {ConfigError} when a file of the credentials cannot be used
 */
export async function openRemote(options: RemoteStoreOptions): Promise<Store> {
  return new RemoteStore(options, await readRemoteCredentials(options));
}

class RemoteStore implements Store {
  readonly name: string;
  readonly #http: RemoteHttp;
  readonly #whole: WholeSession;
  readonly #flannel: FlannelSession;
  /** How the server that answers is spoken with, once that is known. */
  #session: RemoteSession | undefined;
  #told: RemoteSession | undefined;

  constructor(options: RemoteStoreOptions, credentials: RemoteCredentials) {
    const { network = UNNAMED_NETWORK } = options;
    this.name = `flanneld server at ${options.servers.join()}` +
      (network === UNNAMED_NETWORK ? "" : `, network ${network}`);
    this.#http = new RemoteHttp(options, credentials, `/v1/${network}/store/version`);
    this.#whole = new WholeSession(this.#http, network);
    this.#flannel = new FlannelSession(this.#http, network);
  }

  get leaseForm(): LeaseForm {
    // A server out of reach has not changed what its leases look like.
    return (this.#session ?? this.#told)?.leaseForm ?? "v0.7";
  }

  /** Present while the server is one that chooses subnets by itself. */
  get assignLease(): Store["assignLease"] {
    if (this.#session !== this.#flannel) return undefined;
    return (attributes, options) =>
      this.#with(options, (session) => {
        if (session.assignLease !== undefined) return session.assignLease(attributes, options);
        throw new StoreUnavailableError("the server of -remote has become another one");
      });
  }

  snapshot(options?: CallOptions): Promise<Snapshot> {
    return this.#with(options, (session) => session.snapshot(options));
  }

  lease(subnet: Prefix, options?: CallOptions): Promise<Lease | undefined> {
    return this.#with(options, (session) => session.lease(subnet, options));
  }

  createLease(
    subnet: Prefix,
    attributes: LeaseAttributes,
    ttl: number,
    options?: CallOptions,
  ): Promise<Lease> {
    return this.#with(
      options,
      (session) => session.createLease(subnet, attributes, ttl, options),
    );
  }

  updateLease(
    lease: Lease,
    attributes: LeaseAttributes,
    ttl: number,
    options?: CallOptions,
  ): Promise<Lease> {
    return this.#with(options, (session) => session.updateLease(lease, attributes, ttl, options));
  }

  removeLease(lease: Lease, options?: CallOptions): Promise<void> {
    return this.#with(options, (session) => session.removeLease(lease, options));
  }

  agent(publicIP: IPv4, options?: CallOptions): Promise<StoredNodeRecord | undefined> {
    return this.#with(options, (session) => session.agent(publicIP, options));
  }

  putAgent(
    publicIP: IPv4,
    record: NodeRecord,
    ttl: number,
    expected: string | undefined,
    options?: CallOptions,
  ): Promise<StoredNodeRecord> {
    return this.#with(
      options,
      (session) => session.putAgent(publicIP, record, ttl, expected, options),
    );
  }

  removeAgent(agent: StoredNodeRecord, options?: CallOptions): Promise<void> {
    return this.#with(options, (session) => session.removeAgent(agent, options));
  }

  putConfig(text: string, expected: string | undefined, options?: CallOptions): Promise<void> {
    return this.#with(options, (session) => session.putConfig(text, expected, options));
  }

  removeConfig(expected: string, options?: CallOptions): Promise<void> {
    return this.#with(options, (session) => session.removeConfig(expected, options));
  }

  async *watch(cursor: Cursor, options: WatchOptions): AsyncGenerator<WatchItem, void> {
    // Ends with the store too.
    using life = new Deadline(Infinity, () => undefined, options.signal, this.#http.closed);
    const { signal } = life;
    const link = new WatchLink(BACKOFF, options.onState);
    let place = cursor;
    let followed = this.#session;
    let isNew = false;
    while (!signal.aborted) {
      const started = performance.now();
      let item: WatchItem | undefined;
      try {
        const session = await this.#find(signal);
        if (followed !== undefined && session !== followed) {
          const reason = "the server of -remote has become another one";
          item = { type: "resync", reason, snapshot: await session.snapshot({ signal }) };
        } else {
          const standing = setTimeout(() => link.stands(), HELD);
          const result = await session.poll(place, signal).finally(() => clearTimeout(standing));
          item = "snapshot" in result
            ? { type: "resync", ...result }
            : { type: "changes", ...result };
        }
        followed = session;
      } catch (error) {
        if (signal.aborted) return;
        this.#doubt(error);
        await link.broken(error, signal);
        continue;
      }
      const elapsed = performance.now() - started;
      const isNews = item.type === "resync" || item.changes.length > 0;
      const isChurning = isNew && item.type === "resync" && elapsed < BACKOFF.longestBackoff;
      isNew = item.type === "resync";
      if (!isChurning) link.stands();
      place = item.type === "resync" ? item.snapshot.cursor : item.cursor;
      if (isNews) yield item;
      if (isChurning) await link.broken(churning(), signal);
      // The server's limit, or ours: whether it is still there is asked before the next poll.
      else if (!isNews && elapsed >= HELD) this.#http.doubt();
      else if (!isNews) {
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
      this.#doubt(error);
      if (!(error instanceof NotOursError)) throw error;
    }
    return await call(await this.#find(options?.signal));
  }

  /** Another server may answer next, or the same one in another version. */
  #doubt(error: unknown): void {
    if (error instanceof NotOursError || error instanceof StoreUnavailableError) {
      this.#session = undefined;
    }
  }

  /** How the server is spoken with. */
  async #find(signal: AbortSignal | undefined): Promise<RemoteSession> {
    if (this.#session !== undefined) return this.#session;
    const isWhole = await this.#whole.isServed(signal ? { signal } : {});
    if (!isWhole) await this.#flannel.probe(signal ? { signal } : {});
    const session = this.#session = isWhole ? this.#whole : this.#flannel;
    if (this.#told !== session) {
      this.#told = session;
      if (isWhole) info(`Using the whole store of the ${this.name}`);
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
