import { Buffer } from "node:buffer";
import type { IKeyValue, IRangeResponse } from "etcd3";
import type { Prefix } from "../../../ip/mod.ts";
import { type Lease, PERMANENT } from "../../../lease/mod.ts";
import { verbose } from "../../../observe/log/log.ts";
import { type RawEntry, SnapshotBuilder } from "../../entries.ts";
import { EntryStore, type WrittenEntry } from "../../entry_store.ts";
import { configConflict, ConflictError, StoreError, StoreUnavailableError } from "../../errors.ts";
import { displayEndpoints } from "../http.ts";
import { type EtcdV3Caller, EtcdV3Client, type EtcdV3ClientOptions } from "./client.ts";
import { configMissing, NO_LEASE, prefixRange, toRawEntry } from "./keys.ts";
import { watchPrefix } from "./watch.ts";
import { atOneRevision, NEWEST } from "./revision.ts";
import type { EtcdOptions } from "../../options.ts";
import type { CallOptions, Cursor, Snapshot, Store, WatchItem, WatchOptions } from "../../store.ts";
import { readTlsFiles } from "../tls_files.ts";

/**
 * Opens a network's store in etcd v3; connects with the first call.
 *
 * @throws {ConfigError} when a file of `options` cannot be read or is no PEM
 */
export async function openEtcdV3(
  options: EtcdOptions,
  clientOptions: EtcdV3ClientOptions = {},
): Promise<Store> {
  return new EtcdV3Store(
    options,
    new EtcdV3Client(options, await readTlsFiles(options), clientOptions),
  );
}

/** How often an entry is read whose etcd lease has run out: the entry is gone at the next reading. */
const LEASE_ATTEMPTS = 3;

/** One network's keys in etcd v3. */
export class EtcdV3Store extends EntryStore {
  readonly name: string;
  readonly leaseForm = "v0.20";
  readonly #client: EtcdV3Caller;
  readonly #pageSize: number;
  readonly #watches = new Set<AbortController>();

  /**
   * @param client disposed of with the store
   * @param pageSize keys to a page of a snapshot; the default makes pages of about a megabyte
   */
  constructor(
    options: Pick<EtcdOptions, "endpoints" | "prefix">,
    client: EtcdV3Caller,
    pageSize = 5_000,
  ) {
    super(options.prefix);
    this.name = `etcd v3 at ${displayEndpoints(options.endpoints)}, prefix ${options.prefix}`;
    this.#client = client;
    this.#pageSize = pageSize;
  }

  async snapshot({ signal }: CallOptions = {}): Promise<Snapshot> {
    return await atOneRevision(() => this.#snapshot(signal));
  }

  async #snapshot(signal: AbortSignal | undefined): Promise<Snapshot> {
    const builder = new SnapshotBuilder(this.entries);
    let { key, range_end } = prefixRange(this.entries.prefix);
    let page: IRangeResponse;
    let revision = NEWEST;
    do {
      page = await this.#client.call(
        "range",
        { key, range_end, limit: this.#pageSize, revision },
        signal,
      );
      if (revision === NEWEST) revision = page.header.revision;
      for (const kv of page.kvs) builder.add(toRawEntry(kv));
      // The least key after the last one.
      if (page.more) key = Buffer.concat([page.kvs.at(-1)!.key, Buffer.of(0)]);
    } while (page.more);
    return builder.build(configMissing(this.entries.configKey), revision);
  }

  override async lease(subnet: Prefix, { signal }: CallOptions = {}): Promise<Lease | undefined> {
    for (let attempt = 0; attempt < LEASE_ATTEMPTS; attempt++) {
      const kv = await this.#get(this.entries.leaseKey(subnet), signal);
      if (kv === undefined) return undefined;
      const lease = this.entries.lease(subnet, toRawEntry(kv));
      if (lease === undefined || lease.ttl !== undefined) return lease;
      const left = await this.#client.call("leaseTimeToLive", { ID: kv.lease }, signal);
      const [seconds, granted] = [Number(left.TTL), Number(left.grantedTTL)];
      // etcd rounds down, which makes a last second look like PERMANENT. It says -1 of a lease that
      // has run out since, and the entry with it.
      if (seconds >= 0) return { ...lease, ttl: Math.min(seconds + 1, granted) };
    }
    return undefined;
  }

  override async putConfig(
    text: string,
    expected: string | undefined,
    { signal }: CallOptions = {},
  ): Promise<void> {
    const key = Buffer.from(this.entries.configKey);
    const value = Buffer.from(text);
    const { succeeded, responses } = await this.#client.call("txn", {
      compare: [
        expected === undefined
          ? { key, target: "Version", result: "Equal", version: 0 }
          : { key, target: "Value", result: "Equal", value: Buffer.from(expected) },
      ],
      success: [{ request_put: { key, value } }],
      failure: [{ request_range: { key } }],
    }, signal);
    if (succeeded) return;
    const found = responses[0]!.response_range.kvs[0];
    if (found === undefined || !value.equals(found.value)) {
      throw configConflict(this.entries.configKey, found);
    }
  }

  override async removeConfig(expected: string, { signal }: CallOptions = {}): Promise<void> {
    const key = Buffer.from(this.entries.configKey);
    const { succeeded, responses } = await this.#client.call("txn", {
      compare: [{ key, target: "Value", result: "Equal", value: Buffer.from(expected) }],
      success: [{ request_delete_range: { key } }],
      failure: [{ request_range: { key } }],
    }, signal);
    const found = succeeded ? undefined : responses[0]!.response_range.kvs[0];
    if (found !== undefined) throw configConflict(this.entries.configKey, found);
  }

  async *watch(cursor: Cursor, options: WatchOptions): AsyncIterable<WatchItem> {
    const { signal } = options;
    const controller = new AbortController();
    const abort = () => controller.abort();
    if (signal.aborted) return;
    signal.addEventListener("abort", abort);
    this.#watches.add(controller);
    try {
      yield* watchPrefix(this.#client, this.entries, cursor, {
        ...options,
        signal: controller.signal,
        snapshot: (signal) => this.snapshot({ signal }),
      });
    } finally {
      signal.removeEventListener("abort", abort);
      this.#watches.delete(controller);
    }
  }

  reconnect(): void {
    this.#client.reconnect();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const watch of this.#watches) watch.abort();
    await this.#client[Symbol.asyncDispose]();
  }

  protected async remove(
    name: string,
    expected: string,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const key = Buffer.from(name);
    const { succeeded, responses } = await this.#client.call("txn", {
      compare: [{ key, target: "Mod", result: "Equal", mod_revision: expected }],
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

  protected async read(
    key: string,
    signal: AbortSignal | undefined,
  ): Promise<RawEntry | undefined> {
    const kv = await this.#get(key, signal);
    return kv && toRawEntry(kv);
  }

  async #get(key: string, signal: AbortSignal | undefined): Promise<IKeyValue | undefined> {
    const { kvs } = await this.#client.call("range", { key: Buffer.from(key) }, signal);
    return kvs[0];
  }

  /** Writes an entry with an etcd lease of its own, and revokes the one that it had before. */
  protected async write(
    name: string,
    value: string,
    ttl: number,
    expected: string | undefined,
    signal: AbortSignal | undefined,
  ): Promise<WrittenEntry> {
    const key = Buffer.from(name);
    const granted = ttl === PERMANENT
      ? { ID: NO_LEASE, TTL: String(PERMANENT) }
      : await this.#client.call("leaseGrant", { TTL: ttl }, signal);
    const written = (revision: string) => ({ ttl: Number(granted.TTL), revision });
    let answer;
    try {
      answer = await this.#client.call("txn", {
        compare: [
          expected === undefined
            ? { key, target: "Version", result: "Equal", version: 0 }
            : { key, target: "Mod", result: "Equal", mod_revision: expected },
        ],
        success: [{
          request_put: { key, value: Buffer.from(value), lease: granted.ID, prev_kv: true },
        }],
        failure: [{ request_range: { key } }],
      }, signal);
    } catch (error) {
      // Of any other failure it is not known whether etcd has written nevertheless.
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
    // The answer to an earlier attempt was lost on the way: this is what it wrote.
    if (granted.ID !== NO_LEASE && found?.lease === granted.ID) return written(found.mod_revision);
    await this.#revokeUnused(granted.ID, signal);
    throw new ConflictError(
      expected === undefined
        ? `${name} exists already`
        : `${name} was ${found === undefined ? "removed" : "changed"} since it was read`,
    );
  }

  /**
   * Revokes an etcd lease that no key has any more, where flannel leaves one behind for a day with
   * each renewal. Nothing depends on it: one that stays runs out.
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
      verbose(2, `Etcd lease ${id} is left to run out: ${(error as Error).message}`);
    }
  }
}
