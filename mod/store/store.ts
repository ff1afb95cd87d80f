import type { IPv4, Prefix } from "../ip/mod.ts";
import type {
  Lease,
  LeaseAttributes,
  LeaseForm,
  NodeRecord,
  StoredNodeRecord,
} from "../lease/mod.ts";

/** Where a watch continues; opaque to everyone but the adapter that gave it. */
export type Cursor = string;

/** The network configuration as stored: its text, or why there is none. */
export type ConfigText =
  | { readonly text: string }
  /** The store's own words, for example `100: Key not found (/atomic.io) [97]`. */
  | { readonly missing: string };

/** All that the store holds of one network at one moment. */
export interface Snapshot {
  readonly config: ConfigText;
  readonly leases: readonly Lease[];
  readonly agents: readonly StoredNodeRecord[];
  /** A watch from here misses nothing that this snapshot lacks. */
  readonly cursor: Cursor;
}

/** One thing that happened in the store. */
export type Change =
  | { readonly type: "config"; readonly config: ConfigText }
  /** Created, or its attributes or lifetime changed. */
  | { readonly type: "lease"; readonly lease: Lease }
  | { readonly type: "lease-removed"; readonly subnet: Prefix }
  | { readonly type: "agent"; readonly agent: StoredNodeRecord }
  | { readonly type: "agent-removed"; readonly publicIP: IPv4 };

/** What a watch yields, of one network unless said otherwise. */
export type WatchItem<C = Change, S = Snapshot> =
  | { readonly type: "changes"; readonly changes: readonly C[]; readonly cursor: Cursor }
  /**
   * History was lost (v2 error 401, v3 compaction), or the whole directory went away: this is
   * everything there is now, in place of what was known.
   */
  | { readonly type: "resync"; readonly reason: string; readonly snapshot: S };

/** Options of {@linkcode Store.watch}. */
export interface WatchOptions {
  /** Ends the watch; the iteration then finishes without an error. */
  readonly signal: AbortSignal;
  /**
   * Told when the connection behind the watch breaks (with the error) and when it stands again
   * (with `undefined`), once per change of state. The watch goes on by itself either way.
   */
  readonly onState?: (error: Error | undefined) => void;
}

/** Options of a single call. */
export interface CallOptions {
  /** Gives the call up; it then rejects with the signal's reason. */
  readonly signal?: AbortSignal;
}

/**
 * The shared store of one network: its config, its leases, its agents' records.
 *
 * Adapters are interchangeable: one table of cases (`store_cases.ts`) runs over each. Entries that
 * cannot be read are skipped with one warning per key. Every call rejects with
 * {@linkcode StoreUnavailableError} when no endpoint answers, and with {@linkcode StoreError} when
 * one answers but refuses (wrong password, no permission, a reply that is not the store's).
 */
export interface Store extends AsyncDisposable {
  /** For logs: `etcd v2 at http://10.0.0.1:2379, prefix /flannel/network`; never a secret. */
  readonly name: string;
  /** The form this store's other readers expect lease values in; of `-remote` known once it was read. */
  readonly leaseForm: LeaseForm;

  /** Reads everything at one moment, linearizable. A missing directory is an empty one. */
  snapshot(options?: CallOptions): Promise<Snapshot>;

  /** Reads one lease, with its `ttl` always present; `undefined` when there is none. */
  lease(subnet: Prefix, options?: CallOptions): Promise<Lease | undefined>;

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
  ): Promise<Lease>;

  /**
   * Leases whichever subnet the server chooses, for 24 hours: the one that has the public IP, if there is
   * one, and if not a free one. Present where only the server chooses (flannel 0.7.1's client/server
   * protocol); there {@linkcode createLease} makes reservations only.
   */
  assignLease?:
    | ((attributes: LeaseAttributes, options?: CallOptions) => Promise<Lease>)
    | undefined;

  /**
   * Writes a lease anew (to renew it, or with other attributes), provided that it is still the one
   * that was read.
   *
   * @param lease as read; its `revision` is compared
   * @throws {ConflictError} when it was changed or removed since
   */
  updateLease(
    lease: Lease,
    attributes: LeaseAttributes,
    ttl: number,
    options?: CallOptions,
  ): Promise<Lease>;

  /**
   * Removes a lease, provided that it is still the one that was read; gone already is fine.
   *
   * @throws {ConflictError} when it was changed since
   */
  removeLease(lease: Lease, options?: CallOptions): Promise<void>;

  /** Reads one agent's record; `undefined` when there is none or it cannot be read. */
  agent(publicIP: IPv4, options?: CallOptions): Promise<StoredNodeRecord | undefined>;

  /**
   * Writes an agent's record.
   *
   * @param expected the revision it must still have; `undefined` when it must not exist
   * @throws {ConflictError} when it has another revision, or exists
   */
  putAgent(
    publicIP: IPv4,
    record: NodeRecord,
    ttl: number,
    expected: string | undefined,
    options?: CallOptions,
  ): Promise<StoredNodeRecord>;

  /**
   * Removes an agent's record, provided that it is still the one that was read; gone already is fine.
   *
   * @throws {ConflictError} when it was changed since
   */
  removeAgent(agent: StoredNodeRecord, options?: CallOptions): Promise<void>;

  /**
   * Writes the network config, provided that it is still the one that was read. Where the answer to
   * an earlier attempt was lost on the way, the config that is there already counts as written.
   *
   * @param expected the text that was read; `undefined` when there must be no config
   * @throws {ConflictError} when it was changed, removed or written since
   */
  putConfig(text: string, expected: string | undefined, options?: CallOptions): Promise<void>;

  /**
   * Removes the network config, provided that it is still the one that was read; gone already is
   * fine. Leases and records stay.
   *
   * @throws {ConflictError} when it was changed since
   */
  removeConfig(expected: string, options?: CallOptions): Promise<void>;

  /**
   * Drops the connections that stand, for when the address is gone that they were made from: what is
   * under way over them fails as though the server had gone, instead of waiting for an answer, and
   * watches go on over new ones.
   */
  reconnect(): void;

  /**
   * Yields what happens after `cursor`, in order, nothing twice and nothing left out. Breaks of
   * the connection are mended inside, with back-off. Own writes are reported like any other.
   */
  watch(cursor: Cursor, options: WatchOptions): AsyncIterable<WatchItem>;
}
