/**
 * The shared store behind one interface. The adapters are not re-exported: each is imported when
 * it is chosen, so that no agent loads another store's dependencies.
 *
 * @module
 */
export * from "./errors.ts";
export type { CallOptions, Cursor, Kv, Watched, WatchOptions } from "./kv/kv.ts";
export type { Change, ConfigText, Snapshot } from "./entries.ts";
export type { NetworkStore, WatchItem } from "./network_store.ts";
