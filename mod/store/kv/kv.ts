/**
 * The interface under all stores: keys and values, with a revision and a lifetime each.
 *
 * @module
 */

import type { LeaseForm } from "../../lease/mod.ts";

/** A position in the store's history; opaque to all but the adapter that returned it. */
export type Cursor = string;

/** One key and its value. */
export interface KvEntry {
  /** The whole key: `/flannel/network/config` */
  readonly key: string;
  readonly value: string;
  /** The store's version of the entry, for compare-and-swap; opaque. Never given out twice. */
  readonly revision: string;
  /**
   * Whole seconds left, 1 at least; `PERMANENT` without expiry; absent where the store does not
   * include it (etcd v3 returns it for one lease at a time).
   */
  readonly ttl?: number | undefined;
  /** Present when the key holds no value; completes "it ...": `is a directory` (etcd v2). */
  readonly problem?: string | undefined;
}

/** One event of a key. */
export type KvChange =
  | { readonly type: "put"; readonly entry: KvEntry }
  /** Deleted or expired. @property missing as {@linkcode Listing.missing} */
  | { readonly type: "delete"; readonly key: string; readonly missing: string };

/** The keys that a listing or a watch covers. */
export interface KeyRange {
  /** A directory, without a trailing slash: every key below `prefix + "/"`. */
  readonly prefix: string;
  /** Restricts the range to the keys `<prefix>/<one segment>/<leaf>`. */
  readonly leaf?: string;
}

/** All entries of a range at one moment. */
export interface Listing {
  readonly entries: readonly KvEntry[];
  /** A watch from here misses nothing that this listing lacks. */
  readonly cursor: Cursor;
  /** Returns the store's own message for a missing key: `100: Key not found (/atomic.io) [97]` */
  readonly missing: (key: string) => string;
}

/** One item of a watch: changes `C`, or everything there is as an `S`. */
export type Watched<C, S> =
  | { readonly type: "changes"; readonly changes: readonly C[]; readonly cursor: Cursor }
  /**
   * History was lost (v2 error 401, v3 compaction), or a whole directory was deleted: `snapshot`
   * replaces what was known.
   */
  | { readonly type: "resync"; readonly reason: string; readonly snapshot: S };

/** One item of {@linkcode Kv.watch}. */
export type KvWatchItem = Watched<KvChange, Listing>;

/** The state that an entry must have for a write to succeed. */
export type Expect = "absent" | "any" | { readonly revision: string };

/** Options of a single call. */
export interface CallOptions {
  /** Aborts the call, which then rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/** Options of {@linkcode Kv.get}. */
export interface GetOptions extends CallOptions {
  /** Returns the lifetime even where that takes a second call. @default false */
  readonly ttl?: boolean;
}

/** Options of {@linkcode Kv.put}. */
export interface PutOptions extends CallOptions {
  readonly expect: Expect;
  /** Lifetime in seconds, or `PERMANENT`. */
  readonly ttl: number;
}

/** Options of {@linkcode Kv.delete}. */
export interface DeleteOptions extends CallOptions {
  readonly expect: Exclude<Expect, "absent">;
}

/** Options of {@linkcode Kv.watch}. */
export interface WatchOptions {
  /** Ends the watch; the iteration then finishes without an error. */
  readonly signal: AbortSignal;
  /**
   * Called when the connection behind the watch breaks (with the error) and when it is restored
   * (with `undefined`), once per change of state. The watch reconnects by itself.
   */
  readonly onState?: (error: Error | undefined) => void;
}

/**
 * A key-value store with revisions, lifetimes and a watch.
 *
 * Adapters are interchangeable: one table of cases (`kv_cases.ts`) runs over each. Every call
 * rejects with `StoreUnavailableError` when no endpoint answers, and with `StoreError` when an
 * endpoint answers but refuses (wrong password, no permission, not this kind of store).
 */
export interface Kv extends AsyncDisposable {
  /** For logs: `etcd v2 at http://10.0.0.1:2379`; never a secret. */
  readonly name: string;
  /**
   * The form that the store's other readers expect lease values in; of `-remote` known after the first
   * call.
   */
  readonly leaseForm: LeaseForm;

  /** Reads one entry; `undefined` when there is none. */
  get(key: string, options?: GetOptions): Promise<KvEntry | undefined>;

  /** Reads a range at one moment, linearizable. A missing directory is an empty one. */
  list(range: KeyRange, options?: CallOptions): Promise<Listing>;

  /**
   * Writes an entry in one transaction with its condition.
   *
   * @returns the entry, with the lifetime that the store has granted
   * @throws {ConflictError} when the entry is not as expected
   */
  put(key: string, value: string, options: PutOptions): Promise<KvEntry>;

  /**
   * Deletes an entry in one transaction with its condition; does nothing when there is none.
   *
   * @throws {ConflictError} when the entry is not as expected
   */
  delete(key: string, options: DeleteOptions): Promise<void>;

  /**
   * Yields what happens to a range after `cursor`, in order, nothing twice and nothing left out, own
   * writes too. Reconnects by itself, with back-off; ends with its signal and with the store.
   */
  watch(range: KeyRange, cursor: Cursor, options: WatchOptions): AsyncIterable<KvWatchItem>;

  /**
   * Drops the open connections, for when the address is gone that they were made from: calls over them fail
   * as though the server had closed them, and watches go on over new ones.
   */
  reconnect(): void;
}

/** True for a key of the range. */
export function isInRange({ prefix, leaf }: KeyRange, key: string): boolean {
  if (!key.startsWith(`${prefix}/`)) return false;
  if (leaf === undefined) return true;
  if (!key.endsWith(`/${leaf}`)) return false;
  const child = key.slice(prefix.length + 1, -leaf.length - 1);
  return child !== "" && !child.includes("/");
}

/** Restricts changes to those of a range. */
export function changesInRange(range: KeyRange, changes: readonly KvChange[]): readonly KvChange[] {
  return changes.filter((change) =>
    isInRange(range, change.type === "put" ? change.entry.key : change.key)
  );
}

/** True when an entry, or its absence, is what a write expects. */
export function isExpected(found: { readonly revision: string } | undefined, expect: Expect) {
  return expect === "any" ||
    found?.revision === (expect === "absent" ? undefined : expect.revision);
}
