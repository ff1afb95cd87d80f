import type { DriverOpenOptions, Waiting } from "./driver.ts";
import { NetworkNames } from "./network_names.ts";
import { NetworkStore } from "./network_store.ts";
import { driverOf, type StoreOptions } from "./registry.ts";

export { AmbiguousConfigError } from "./etcd/detect.ts";

/** The result of {@linkcode openStore}. @property note a line for the log: the store, and why it was chosen */
export type Opened = { readonly store: NetworkStore; readonly note: string } | Waiting;

/** The result of {@linkcode openNetworkNames}. */
export type NamesOpened =
  /**
   * @property store the options of the store, with what was detected
   * @property note a line for the log: the store, and why it was chosen
   */
  | { readonly names: NetworkNames; readonly store: StoreOptions; readonly note: string }
  | Waiting;

/** Options of {@linkcode openStore}; false by default. */
export type OpenOptions = Partial<Omit<DriverOpenOptions, "names">>;

/**
 * Opens the store of one network.
 *
 * @throws {ConfigError} when an endpoint, a TLS file or a seed cannot be used
 * @throws {AmbiguousConfigError} when both stores of etcd hold a config, with different content
 * @throws {StoreUnavailableError} when no endpoint answers (etcd with `auto`; others connect later)
 * @throws {StoreError} when etcd refuses (`auto` only), or a file is no store
 */
export async function openStore(options: StoreOptions, how: OpenOptions = {}): Promise<Opened> {
  const opened = await open(options, how, false);
  if ("waiting" in opened) return opened;
  const { kv, prefix, name = kv.name, note = `Using the ${name}`, prepare } = opened;
  const store = new NetworkStore(kv, { prefix, name });
  try {
    await prepare?.(store);
  } catch (error) {
    await store[Symbol.asyncDispose]();
    throw error;
  }
  return { store, note };
}

/**
 * Opens the names of the networks of a store.
 *
 * @throws as {@linkcode openStore} does
 */
export async function openNetworkNames(
  options: StoreOptions,
  how: OpenOptions = {},
): Promise<NamesOpened> {
  const opened = await open(options, how, true);
  if ("waiting" in opened) return opened;
  const { kv, prefix, name = kv.name, note = `Using the ${name}` } = opened;
  const store = (opened.options ?? options) as StoreOptions;
  return { names: new NetworkNames(kv, prefix, name), store, note };
}

function open(
  options: StoreOptions,
  { signal, readOnly = false, owner = false }: OpenOptions,
  names: boolean,
) {
  return driverOf(options.kind).open(options, { signal, readOnly, owner, names });
}
