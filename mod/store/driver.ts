import type { CallOptions, Kv } from "./kv/kv.ts";
import type { NetworkStore } from "./network_store.ts";

/** Options of a store: each kind has its own. */
export interface KindOptions {
  readonly kind: string;
}

/** Options of {@linkcode StoreDriver.open}. */
export interface DriverOpenOptions extends CallOptions {
  /** Opens the directory of all networks instead of one network, to list their names. */
  readonly names: boolean;
  /**
   * The store is only read: a file that is missing is not created. For a store behind a server (etcd,
   * remote) it makes no difference.
   */
  readonly readOnly: boolean;
  /**
   * The caller is this host's agent or server, not a command. In a store without a server (embedded) this
   * process expires the entries and writes the seed. etcd and remote expire entries in their servers, and
   * ignore it.
   */
  readonly owner: boolean;
}

/** A store that a driver has opened. */
export interface OpenedKv<Options extends KindOptions> {
  readonly kv: Kv;
  /** Directory of the network, or of all networks, without a trailing slash. */
  readonly prefix: string;
  /** The store with the network, for logs. @default `kv.name` */
  readonly name?: string;
  /** A line for the log: the store, and why it was chosen. @default `Using the NAME` */
  readonly note?: string;
  /** The options, with what was detected. @default the options as given */
  readonly options?: Options;
  /** Runs before the first use. */
  readonly prepare?: (store: NetworkStore) => Promise<void>;
}

/** No store was detected yet: a line with the findings and the next step. */
export interface Waiting {
  readonly waiting: string;
}

/**
 * One kind of store, as the rest of the program knows it. `registry.ts` lists the drivers, and
 * `open()` imports the adapter, so that no agent loads another store's dependencies.
 */
export interface StoreDriver<Options extends KindOptions> {
  readonly kind: Options["kind"];
  /**
   * The entries are on this host alone. A host with `-listen` then leases a subnet for itself, too, and a
   * command that writes refuses a store that is missing instead of creating it.
   */
  readonly isLocal: boolean;
  /**
   * Parses ARGUMENT of `-store KIND=ARGUMENT`; absent for kinds with flags of their own, which
   * mod/cli parses.
   *
   * @throws {ConfigError} that completes "invalid value ... for flag -store: ..."
   */
  parse?(argument: string | undefined): Options;
  /** Returns the options for a named network of the same store. */
  withNetwork(options: Options, network: string): Options;
  /** Names or addresses of the hosts that serve the store. */
  hosts(options: Options): string[];
  /** Describes the store in the log before it is opened; never a secret. */
  describe(options: Options): string;
  /**
   * Completes the message that the network config is missing: its place, and the flags that choose it.
   *
   * @param name of the store, {@linkcode NetworkStore.name}
   */
  configPlace(options: Options, name: string): string;
  /**
   * Opens the store.
   *
   * @throws {ConfigError} when an endpoint or a file that the options name cannot be used
   * @throws {StoreError} when the store refuses, or several could be meant
   */
  open(options: Options, how: DriverOpenOptions): Promise<OpenedKv<Options> | Waiting>;
}
