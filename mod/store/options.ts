/**
 * The options of all kinds of stores.
 *
 * @module
 */
import { driverOf, type StoreOptions } from "./registry.ts";

export { parseStoreArgument, type StoreOptions } from "./registry.ts";
export type { EmbeddedStoreOptions } from "./embedded/options.ts";
export type { EtcdOptions, EtcdStoreOptions } from "./etcd/options.ts";
export type { RemoteStoreOptions } from "./remote/options.ts";

/**
 * Returns the options for a named network of the same store, without a seed: a request to a server for a
 * network that does not exist must not create it.
 *
 * @param name without `/`
 */
export function withNetwork(options: StoreOptions, name: string): StoreOptions {
  return driverOf(options.kind).withNetwork(options, name) as StoreOptions;
}

/** Returns names or addresses of the hosts that serve the store; none for a local file. */
export function endpointHosts(options: StoreOptions): string[] {
  return driverOf(options.kind).hosts(options);
}

/** Describes the store in the log before it is opened; never a secret. */
export function describeStore(options: StoreOptions): string {
  return driverOf(options.kind).describe(options);
}

/** Returns whether the entries are on this host alone, {@linkcode StoreDriver.isLocal}. */
export function isLocal(options: StoreOptions): boolean {
  return driverOf(options.kind).isLocal;
}

/**
 * Completes the message that the network config is missing: its place, and the flags that choose it.
 *
 * @param name of the store, {@linkcode NetworkStore.name}
 */
export function describeConfigPlace(options: StoreOptions, name: string): string {
  return driverOf(options.kind).configPlace(options, name);
}
