import { Buffer } from "node:buffer";
import type { IKeyValue, IRangeResponse } from "etcd3";
import { PERMANENT } from "../../../lease/mod.ts";
import { verbose } from "../../../observe/log/log.ts";
import { linkedSignal } from "../../deadline.ts";
import { ConflictError, StoreError, StoreUnavailableError } from "../../errors.ts";
import type {
  CallOptions,
  Cursor,
  DeleteOptions,
  Expect,
  GetOptions,
  KeyRange,
  Kv,
  KvEntry,
  KvWatchItem,
  Listing,
  PutOptions,
  WatchOptions,
} from "../../kv/kv.ts";
import { displayEndpoints } from "../endpoints.ts";
import type { EtcdOptions } from "../options.ts";
import { readTlsFiles } from "../tls_files.ts";
import { type EtcdV3Caller, EtcdV3Client, type EtcdV3ClientOptions } from "./client.ts";
import { missingText, NO_LEASE, prefixRange, toEntry } from "./keys.ts";
import { atOneRevision, NEWEST } from "./revision.ts";
import { watchRange } from "./watch.ts";

/**
 * Opens etcd v3; connects with the first call.
 *
 * @throws {ConfigError} when a file of `options` cannot be read or is no PEM
 */
export async function openEtcdV3(
  options: EtcdOptions,
  clientOptions: EtcdV3ClientOptions = {},
): Promise<Kv> {
  const client = new EtcdV3Client(options, await readTlsFiles(options), clientOptions);
  return new EtcdV3Kv(options, client);
}

/** Attempts to read an entry whose etcd lease has expired: the next reading finds no entry. */
const TTL_ATTEMPTS = 3;

/** Keys and values of etcd v3, each with an etcd lease of its own when it has a lifetime. */
export class EtcdV3Kv implements Kv {
  readonly name: string;
  readonly leaseForm = "v0.20";
  readonly #client: EtcdV3Caller;
  readonly #pageSize: number;
  readonly #closed = new AbortController();

  /**
   * @param client disposed of with this
   * @param pageSize keys to a page of a listing; the default makes pages of about a megabyte
   */
  constructor(
    { endpoints }: Pick<EtcdOptions, "endpoints">,
    client: EtcdV3Caller,
    pageSize = 5_000,
  ) {
    this.name = `etcd v3 at ${displayEndpoints(endpoints)}`;
    this.#client = client;
    this.#pageSize = pageSize;
  }

  async get(key: string, { ttl, signal }: GetOptions = {}): Promise<KvEntry | undefined> {
    for (let attempt = 0; attempt < TTL_ATTEMPTS; attempt++) {
      const kv = await this.#get(key, signal);
      if (kv === undefined || !ttl || kv.lease === NO_LEASE) return kv && toEntry(kv);
      const left = await this.#client.call("leaseTimeToLive", { ID: kv.lease }, signal);
      const [seconds, granted] = [Number(left.TTL), Number(left.grantedTTL)];
      // etcd rounds down, which makes a last second look like PERMANENT. It returns -1 for a lease that
      // has expired since, and the entry with it.
      if (seconds >= 0) return { ...toEntry(kv), ttl: Math.min(seconds + 1, granted) };
    }
    return undefined;
  }

  async list(range: KeyRange, { signal }: CallOptions = {}): Promise<Listing> {
    return await atOneRevision(() =>
      range.leaf === undefined
        ? this.#listAll(range, signal)
        : this.#listLeaves(range.prefix, range.leaf, signal)
    );
  }

  async put(
    name: string,
    value: string,
    { expect, ttl, signal }: PutOptions,
  ): Promise<KvEntry> {
    const key = Buffer.from(name);
    const granted = ttl === PERMANENT
      ? { ID: NO_LEASE, TTL: String(PERMANENT) }
      : await this.#client.call("leaseGrant", { TTL: ttl }, signal);
    const written = (revision: string): KvEntry => ({
      ...{ key: name, value, revision },
      ttl: Number(granted.TTL),
    });
    let answer;
    try {
      answer = await this.#client.call("txn", {
        compare: comparison(key, expect),
        success: [{
          request_put: { key, value: Buffer.from(value), lease: granted.ID, prev_kv: true },
        }],
        failure: [{ request_range: { key } }],
      }, signal);
    } catch (error) {
      // After any other failure etcd may have written all the same.
      if (error instanceof StoreError && !(error instanceof StoreUnavailableError)) {
        await this.#revokeUnused(granted.ID, signal);
      }
      throw error;
    }
    if (answer.succeeded) {
      const previous = answer.responses[0]!.response_put.prev_kv as IKeyValue | null;
      await this.#revokeUnused(previous?.lease ?? NO_LEASE, signal);
      return written(answer.header.revision);
    }
    const found = answer.responses[0]!.response_range.kvs[0];
    // The reply to an earlier attempt was lost: this is the entry that it wrote.
    if (granted.ID !== NO_LEASE && found?.lease === granted.ID) return written(found.mod_revision);
    await this.#revokeUnused(granted.ID, signal);
    throw new ConflictError(
      expect === "absent"
        ? `${name} exists already`
        : `${name} was ${found === undefined ? "removed" : "changed"} since it was read`,
    );
  }

  async delete(name: string, { expect, signal }: DeleteOptions): Promise<void> {
    const key = Buffer.from(name);
    const { succeeded, responses } = await this.#client.call("txn", {
      compare: comparison(key, expect),
      success: [{ request_delete_range: { key, prev_kv: true } }],
      failure: [{ request_range: { key } }],
    }, signal);
    if (succeeded) {
      await this.#revokeUnused(
        responses[0]!.response_delete_range.prev_kvs[0]?.lease ?? NO_LEASE,
        signal,
      );
    } else if (responses[0]!.response_range.kvs.length > 0) {
      throw new ConflictError(`${name} was changed since it was read`);
    }
  }

  async *watch(
    range: KeyRange,
    cursor: Cursor,
    options: WatchOptions,
  ): AsyncGenerator<KvWatchItem, void> {
    using life = linkedSignal(options.signal, this.#closed.signal);
    const { signal } = life;
    yield* watchRange(this.#client, range, cursor, {
      ...options,
      signal,
      list: () => this.list(range, { signal }),
    });
  }

  reconnect(): void {
    this.#client.reconnect();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed.abort();
    await this.#client[Symbol.asyncDispose]();
  }

  async #get(key: string, signal: AbortSignal | undefined): Promise<IKeyValue | undefined> {
    const { kvs } = await this.#client.call("range", { key: Buffer.from(key) }, signal);
    return kvs[0];
  }

  async #listAll({ prefix }: KeyRange, signal: AbortSignal | undefined): Promise<Listing> {
    const entries: KvEntry[] = [];
    let { key, range_end } = prefixRange(prefix);
    let page: IRangeResponse;
    let revision = NEWEST;
    do {
      page = await this.#client.call(
        "range",
        { key, range_end, limit: this.#pageSize, revision },
        signal,
      );
      if (revision === NEWEST) revision = page.header.revision;
      for (const kv of page.kvs) entries.push(toEntry(kv));
      // The least key after the last one.
      if (page.more) key = Buffer.concat([page.kvs.at(-1)!.key, Buffer.of(0)]);
    } while (page.more);
    return { entries, cursor: revision, missing: missingText };
  }

  /**
   * Steps from child to child of the prefix: two calls each, however many entries they hold. All are read
   * at the revision of the first call.
   */
  async #listLeaves(
    prefix: string,
    leaf: string,
    signal: AbortSignal | undefined,
  ): Promise<Listing> {
    const entries: KvEntry[] = [];
    const { key: first, range_end } = prefixRange(prefix);
    let key = first;
    let revision = NEWEST;
    for (;;) {
      const found = await this.#client.call(
        "range",
        { key, range_end, limit: 1, keys_only: true, revision },
        signal,
      );
      if (revision === NEWEST) revision = found.header.revision;
      const [kv] = found.kvs;
      if (kv === undefined) return { entries, cursor: revision, missing: missingText };
      const child = childOf(kv.key.toString(), prefix);
      if (child === undefined) {
        // A value beside the children, such as the config of a network without a name.
        key = Buffer.concat([kv.key, Buffer.of(0)]);
        continue;
      }
      key = prefixRange(`${prefix}/${child}`).range_end;
      const at = Buffer.from(`${prefix}/${child}/${leaf}`);
      const { kvs } = await this.#client.call("range", { key: at, revision }, signal);
      for (const kv of kvs) entries.push(toEntry(kv));
    }
  }

  /**
   * Revokes an etcd lease that no key has any more, where flannel leaves one behind for a day with
   * each renewal. Nothing depends on it: a lease that stays expires.
   */
  async #revokeUnused(id: string, signal: AbortSignal | undefined): Promise<void> {
    if (id === NO_LEASE) return;
    try {
      const { TTL, keys } = await this.#client.call(
        "leaseTimeToLive",
        { ID: id, keys: true },
        signal,
      );
      // Somebody may have put other keys under it by hand.
      if (Number(TTL) >= 0 && keys.length === 0) {
        await this.#client.call("leaseRevoke", { ID: id }, signal);
      }
    } catch (error) {
      verbose(2, `etcd lease ${id} was not revoked and will expire: ${(error as Error).message}`);
    }
  }
}

/** The comparison of a transaction. */
function comparison(key: Buffer, expect: Expect) {
  if (expect === "any") return [];
  return [
    expect === "absent"
      ? { key, target: "Version", result: "Equal", version: 0 } as const
      : { key, target: "Mod", result: "Equal", mod_revision: expect.revision } as const,
  ];
}

/** The part of a key after the prefix, up to the next slash; `undefined` when there is none. */
function childOf(key: string, prefix: string): string | undefined {
  const start = prefix.length + 1;
  const slash = key.indexOf("/", start);
  return slash < 0 ? undefined : key.slice(start, slash);
}
