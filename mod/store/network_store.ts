import type { IPv4, Prefix } from "../ip/mod.ts";
import {
  encodeLeaseValue,
  encodeNodeRecord,
  type Lease,
  type LeaseAttributes,
  type LeaseForm,
  type NodeRecord,
  PERMANENT,
  type StoredNodeRecord,
} from "../lease/mod.ts";
import { type Change, Entries, type Snapshot } from "./entries.ts";
import { ConflictError, StoreError } from "./errors.ts";
import type {
  CallOptions,
  Cursor,
  Expect,
  KeyRange,
  Kv,
  KvChange,
  KvEntry,
  Listing,
  Watched,
  WatchOptions,
} from "./kv/kv.ts";

/** One item of {@linkcode NetworkStore.watch}. */
export type WatchItem = Watched<Change, Snapshot>;

/** Options of {@linkcode NetworkStore}. */
export interface NetworkStoreOptions {
  /** Directory of the network, without a trailing slash. */
  readonly prefix: string;
  /** For logs: `etcd v2 at http://10.0.0.1:2379, prefix /flannel/network`; never a secret. */
  readonly name: string;
}

/**
 * The store of one network over any {@linkcode Kv}: its config, its leases, its node records. Every
 * write is a compare-and-swap, and every call rejects as the Kv does.
 *
 * Entries that cannot be read are skipped, with one warning per key.
 */
export class NetworkStore implements AsyncDisposable {
  readonly name: string;
  readonly kv: Kv;
  readonly entries: Entries;
  readonly #range: KeyRange;
  /** Watchers that share one batch of changes decode it once. */
  #decoded: { readonly from: readonly KvChange[]; readonly changes: readonly Change[] } | undefined;

  /** @param kv disposed of with the store */
  constructor(kv: Kv, { prefix, name }: NetworkStoreOptions) {
    this.kv = kv;
    this.name = name;
    this.entries = new Entries(prefix);
    this.#range = { prefix };
  }

  /** The form that the store's other readers expect lease values in, see {@linkcode Kv.leaseForm}. */
  get leaseForm(): LeaseForm {
    return this.kv.leaseForm;
  }

  /** Reads everything at one moment, linearizable. A missing directory is an empty one. */
  async snapshot(options?: CallOptions): Promise<Snapshot> {
    return this.entries.snapshot(await this.kv.list(this.#range, options));
  }

  /** Reads one lease, always with its `ttl`; `undefined` when there is none or it cannot be read. */
  async lease(subnet: Prefix, options?: CallOptions): Promise<Lease | undefined> {
    const entry = await this.kv.get(this.entries.leaseKey(subnet), { ...options, ttl: true });
    return entry && this.entries.lease(subnet, entry);
  }

  /**
   * Creates a lease.
   *
   * @param ttl lifetime in seconds, or `PERMANENT`
   * @throws {ConflictError} when the subnet has a lease already, whoever holds it
   */
  createLease(
    subnet: Prefix,
    attributes: LeaseAttributes,
    ttl: number,
    options?: CallOptions,
  ): Promise<Lease> {
    return this.#putLease(subnet, attributes, ttl, "absent", options);
  }

  /**
   * Writes a lease again (to renew it, or with other attributes), provided that it is still the lease
   * that was read.
   *
   * @param lease as read; its `revision` is compared
   * @throws {ConflictError} when it was changed or removed since
   */
  updateLease(
    { subnet, revision }: Lease,
    attributes: LeaseAttributes,
    ttl: number,
    options?: CallOptions,
  ): Promise<Lease> {
    return this.#putLease(subnet, attributes, ttl, { revision }, options);
  }

  /**
   * Removes a lease, provided that it is still the lease that was read; does nothing when it is gone.
   *
   * @throws {ConflictError} when it was changed since
   */
  async removeLease({ subnet, revision }: Lease, options?: CallOptions): Promise<void> {
    await this.kv.delete(this.entries.leaseKey(subnet), { ...options, expect: { revision } });
  }

  /** Reads one node record; `undefined` when there is none or it cannot be read. */
  async agent(publicIP: IPv4, options?: CallOptions): Promise<StoredNodeRecord | undefined> {
    const entry = await this.kv.get(this.entries.agentKey(publicIP), options);
    return entry && this.entries.agent(publicIP, entry);
  }

  /**
   * Writes a node record.
   *
   * @param expected the revision that it must still have; `undefined` when it must not exist
   * @throws {ConflictError} when it has another revision, or exists
   */
  async putNodeRecord(
    publicIP: IPv4,
    record: NodeRecord,
    ttl: number,
    expected: string | undefined,
    options?: CallOptions,
  ): Promise<StoredNodeRecord> {
    const expect = expected === undefined ? "absent" : { revision: expected };
    const key = this.entries.agentKey(publicIP);
    const written = await this.kv.put(key, encodeNodeRecord(record), { ...options, expect, ttl });
    return { publicIP, record, revision: written.revision };
  }

  /**
   * Removes a node record, provided that it is still the record that was read; does nothing when it is
   * gone.
   *
   * @throws {ConflictError} when it was changed since
   */
  async removeNodeRecord(
    { publicIP, revision }: StoredNodeRecord,
    options?: CallOptions,
  ): Promise<void> {
    await this.kv.delete(this.entries.agentKey(publicIP), { ...options, expect: { revision } });
  }

  /**
   * Writes the network config, provided that it is still the text that was read. A config that is there
   * already counts as written, because the reply to an earlier attempt may have been lost.
   *
   * @param expected the text that was read; `undefined` when there must be no config
   * @throws {ConflictError} when it was changed, removed or written since
   */
  async putConfig(
    text: string,
    expected: string | undefined,
    options?: CallOptions,
  ): Promise<void> {
    const key = this.entries.configKey;
    const found = await this.#config(options);
    if (found?.value !== expected) {
      if (found?.value === text) return;
      throw configConflict(key, found);
    }
    const expect = found === undefined ? "absent" : { revision: found.revision };
    try {
      await this.kv.put(key, text, { ...options, expect, ttl: PERMANENT });
    } catch (error) {
      // A call that was repeated at another endpoint loses against itself.
      if (!(error instanceof ConflictError)) throw error;
      const now = await this.#config(options);
      if (now?.value !== text) throw configConflict(key, now);
    }
  }

  /**
   * Removes the network config, provided that it is still the text that was read; does nothing when it
   * is gone. Leases and records stay.
   *
   * @throws {ConflictError} when it was changed since
   */
  async removeConfig(expected: string, options?: CallOptions): Promise<void> {
    const found = await this.#config(options);
    if (found === undefined) return;
    if (found.value !== expected) throw configConflict(this.entries.configKey, found);
    const expect = { revision: found.revision };
    await this.kv.delete(this.entries.configKey, { ...options, expect });
  }

  /** Drops the open connections, see {@linkcode Kv.reconnect}. */
  reconnect(): void {
    this.kv.reconnect();
  }

  /** Yields what happens after `cursor`, see {@linkcode Kv.watch}. */
  watch(cursor: Cursor, options: WatchOptions): AsyncIterable<WatchItem> {
    return decodeWatch(
      this.kv.watch(this.#range, cursor, options),
      (changes) => this.#decode(changes),
      (listing) => this.entries.snapshot(listing),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kv[Symbol.asyncDispose]();
  }

  async #putLease(
    subnet: Prefix,
    attributes: LeaseAttributes,
    ttl: number,
    expect: Expect,
    options?: CallOptions,
  ): Promise<Lease> {
    const value = encodeLeaseValue(attributes, this.leaseForm);
    const key = this.entries.leaseKey(subnet);
    const written = await this.kv.put(key, value, { ...options, expect, ttl });
    return { subnet, attributes, ttl: written.ttl ?? ttl, revision: written.revision };
  }

  async #config(options?: CallOptions): Promise<KvEntry | undefined> {
    const entry = await this.kv.get(this.entries.configKey, options);
    if (entry?.problem !== undefined) {
      throw new StoreError(`${entry.key} in ${this.name} ${entry.problem}: remove it first`);
    }
    return entry;
  }

  #decode(from: readonly KvChange[]): readonly Change[] {
    if (this.#decoded?.from !== from) {
      const changes = from.map((change) => this.entries.change(change))
        .filter((change) => change !== undefined);
      this.#decoded = { from, changes };
    }
    return this.#decoded.changes;
  }
}

/**
 * Decodes a watch of keys. Batches that decode to nothing are left out.
 *
 * @param items the watch
 */
export async function* decodeWatch<C, S>(
  items: AsyncIterable<Watched<KvChange, Listing>>,
  decodeChanges: (changes: readonly KvChange[]) => readonly C[],
  decodeListing: (listing: Listing) => S,
): AsyncGenerator<Watched<C, S>, void> {
  for await (const item of items) {
    if (item.type === "resync") yield { ...item, snapshot: decodeListing(item.snapshot) };
    else {
      const changes = decodeChanges(item.changes);
      if (changes.length > 0) yield { ...item, changes };
    }
  }
}

/** The config is not the text that was read. @param found what is there now, if anything */
function configConflict(key: string, found: unknown): ConflictError {
  const what = found === undefined ? "removed" : "written";
  return new ConflictError(`${key} was ${what} by somebody else since it was read`);
}
