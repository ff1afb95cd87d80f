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
import { Entries, type RawEntry } from "./entries.ts";
import { configConflict, ConflictError } from "./errors.ts";
import type { CallOptions, Cursor, Snapshot, Store, WatchItem, WatchOptions } from "./store.ts";

/** What became of an entry that was written. */
export interface WrittenEntry {
  /** Lifetime in seconds, as the store has granted it; `PERMANENT` when it has none. */
  readonly ttl: number;
  /** See {@linkcode Lease.revision}. */
  readonly revision: string;
}

/**
 * A store that keeps a network as keys and values: the calls of leases and agents' records, made of
 * the adapter's own ways to read, write and remove one entry.
 */
export abstract class EntryStore implements Store {
  abstract readonly name: string;
  abstract readonly leaseForm: LeaseForm;
  protected readonly entries: Entries;

  /** @param prefix directory of the network, without a trailing slash */
  constructor(prefix: string) {
    this.entries = new Entries(prefix);
  }

  async lease(subnet: Prefix, { signal }: CallOptions = {}): Promise<Lease | undefined> {
    const entry = await this.read(this.entries.leaseKey(subnet), signal);
    return entry && this.entries.lease(subnet, entry);
  }

  createLease(
    subnet: Prefix,
    attributes: LeaseAttributes,
    ttl: number,
    options?: CallOptions,
  ): Promise<Lease> {
    return this.#putLease(subnet, attributes, ttl, undefined, options);
  }

  updateLease(
    { subnet, revision }: Lease,
    attributes: LeaseAttributes,
    ttl: number,
    options?: CallOptions,
  ): Promise<Lease> {
    return this.#putLease(subnet, attributes, ttl, revision, options);
  }

  async removeLease({ subnet, revision }: Lease, { signal }: CallOptions = {}): Promise<void> {
    await this.remove(this.entries.leaseKey(subnet), revision, signal);
  }

  async agent(
    publicIP: IPv4,
    { signal }: CallOptions = {},
  ): Promise<StoredNodeRecord | undefined> {
    const entry = await this.read(this.entries.agentKey(publicIP), signal);
    return entry && this.entries.agent(publicIP, entry);
  }

  async putAgent(
    publicIP: IPv4,
    record: NodeRecord,
    ttl: number,
    expected: string | undefined,
    { signal }: CallOptions = {},
  ): Promise<StoredNodeRecord> {
    const key = this.entries.agentKey(publicIP);
    const { revision } = await this.write(key, encodeNodeRecord(record), ttl, expected, signal);
    return { publicIP, record, revision };
  }

  async removeAgent(
    { publicIP, revision }: StoredNodeRecord,
    { signal }: CallOptions = {},
  ): Promise<void> {
    await this.remove(this.entries.agentKey(publicIP), revision, signal);
  }

  async putConfig(
    text: string,
    expected: string | undefined,
    { signal }: CallOptions = {},
  ): Promise<void> {
    const key = this.entries.configKey;
    const found = await this.read(key, signal);
    if (found?.value !== expected) {
      if (found?.value === text) return;
      throw configConflict(key, found);
    }
    try {
      await this.write(key, text, PERMANENT, found?.revision, signal);
    } catch (error) {
      // A call that was repeated at another endpoint loses against itself.
      if (!(error instanceof ConflictError)) throw error;
      const now = await this.read(key, signal);
      if (now?.value !== text) throw configConflict(key, now);
    }
  }

  async removeConfig(expected: string, { signal }: CallOptions = {}): Promise<void> {
    const key = this.entries.configKey;
    const found = await this.read(key, signal);
    if (found === undefined) return;
    if (found.value !== expected) throw configConflict(key, found);
    await this.remove(key, found.revision, signal);
  }

  abstract snapshot(options?: CallOptions): Promise<Snapshot>;
  abstract watch(cursor: Cursor, options: WatchOptions): AsyncIterable<WatchItem>;
  abstract reconnect(): void;
  abstract [Symbol.asyncDispose](): Promise<void>;

  /** Reads one entry; `undefined` when there is none. */
  protected abstract read(
    key: string,
    signal: AbortSignal | undefined,
  ): Promise<RawEntry | undefined> | RawEntry | undefined;

  /**
   * Writes one entry.
   *
   * @param ttl lifetime in seconds, or `PERMANENT`
   * @param expected the revision it must still have; `undefined` when it must not exist
   * @throws {ConflictError} when it has another revision, or exists
   */
  protected abstract write(
    key: string,
    value: string,
    ttl: number,
    expected: string | undefined,
    signal: AbortSignal | undefined,
  ): Promise<WrittenEntry> | WrittenEntry;

  /**
   * Removes one entry; gone already is fine.
   *
   * @param expected the revision it must still have
   * @throws {ConflictError} when it has another revision
   */
  protected abstract remove(
    key: string,
    expected: string,
    signal: AbortSignal | undefined,
  ): Promise<void> | void;

  async #putLease(
    subnet: Prefix,
    attributes: LeaseAttributes,
    ttl: number,
    expected: string | undefined,
    { signal }: CallOptions = {},
  ): Promise<Lease> {
    const key = this.entries.leaseKey(subnet);
    const value = encodeLeaseValue(attributes, this.leaseForm);
    const written = await this.write(key, value, ttl, expected, signal);
    return { subnet, attributes, ttl: written.ttl, revision: written.revision };
  }
}
