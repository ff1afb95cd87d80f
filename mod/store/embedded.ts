import type { IPv4, Prefix } from "../ip/mod.ts";
import {
  type AgentRecord,
  encodeAgentRecord,
  encodeLeaseValue,
  type Lease,
  type LeaseAttributes,
  type LeaseForm,
  PERMANENT,
  type StoredAgentRecord,
} from "../lease/mod.ts";
import { Deadline } from "./deadline.ts";
import type { Condition } from "./embedded_file.ts";
import { type FileAccess, type FileUse, openFile } from "./embedded_open.ts";
import { seedConfig } from "./embedded_seed.ts";
import { cursorAt, EmbeddedWatch } from "./embedded_watch.ts";
import { Entries } from "./entries.ts";
import { ConflictError } from "./errors.ts";
import { type EmbeddedStoreOptions, UNNAMED_NETWORK } from "./options.ts";
import type {
  CallOptions,
  Change,
  Cursor,
  Snapshot,
  Store,
  WatchItem,
  WatchOptions,
} from "./store.ts";

/** For {@linkcode ConfigText}: what this store says of a missing config. */
export const CONFIG_MISSING = "the file holds no network config";

/**
 * Opens one network of a store that is a local file.
 *
 * @throws {StoreFileError} when the file cannot be used, or (`owner`) another process owns it
 * @throws {ConfigError} when a seed is no config
 * @throws {StoreError} when the host refuses the file
 */
export async function openEmbedded(
  options: EmbeddedStoreOptions,
  access: FileAccess = {},
): Promise<Store> {
  const use = openFile(options.path, access);
  try {
    const store = new EmbeddedStore(use, options.network ?? UNNAMED_NETWORK);
    if (access.owner && options.seed !== undefined) await seedConfig(store, options.seed);
    return store;
  } catch (error) {
    use[Symbol.dispose]();
    throw error;
  }
}

/** One network in an {@linkcode EmbeddedFile}. */
class EmbeddedStore implements Store {
  readonly name: string;
  /** What `-listen` hands to flannel 0.7.1, the only one that speaks its protocol. */
  readonly leaseForm: LeaseForm = "v0.7";
  readonly #use: FileUse;
  readonly #entries: Entries;
  readonly #watch: EmbeddedWatch<Change, Snapshot>;
  readonly #disposed = new AbortController();

  constructor(use: FileUse, network: string) {
    this.#use = use;
    const which = network === UNNAMED_NETWORK ? "" : `, network ${network}`;
    this.name = `embedded store ${use.file.path}${which}`;
    this.#entries = new Entries(`/${network}`);
    this.#watch = new EmbeddedWatch({
      file: use.file,
      reader: this.#entries,
      missing: CONFIG_MISSING,
      snapshot: () => this.#snapshot(),
      cursorOf: ({ cursor }) => cursor,
    });
  }

  // deno-lint-ignore require-await -- a refusal is a rejection, as every store's is
  async snapshot({ signal }: CallOptions = {}): Promise<Snapshot> {
    signal?.throwIfAborted();
    return this.#snapshot();
  }

  // deno-lint-ignore require-await -- as above
  async lease(subnet: Prefix, { signal }: CallOptions = {}): Promise<Lease | undefined> {
    signal?.throwIfAborted();
    const entry = this.#use.file.read(this.#entries.leaseKey(subnet));
    return entry && this.#entries.lease(subnet, entry);
  }

  createLease(
    subnet: Prefix,
    attributes: LeaseAttributes,
    ttl: number,
    options?: CallOptions,
  ): Promise<Lease> {
    return this.#putLease(subnet, attributes, ttl, { type: "absent" }, options);
  }

  updateLease(
    { subnet, revision }: Lease,
    attributes: LeaseAttributes,
    ttl: number,
    options?: CallOptions,
  ): Promise<Lease> {
    return this.#putLease(subnet, attributes, ttl, { type: "revision", revision }, options);
  }

  removeLease({ subnet, revision }: Lease, options?: CallOptions): Promise<void> {
    return this.#delete(this.#entries.leaseKey(subnet), { type: "revision", revision }, options);
  }

  // deno-lint-ignore require-await -- as above
  async agent(
    publicIP: IPv4,
    { signal }: CallOptions = {},
  ): Promise<StoredAgentRecord | undefined> {
    signal?.throwIfAborted();
    const entry = this.#use.file.read(this.#entries.agentKey(publicIP));
    return entry && this.#entries.agent(publicIP, entry);
  }

  // deno-lint-ignore require-await -- as above
  async putAgent(
    publicIP: IPv4,
    record: AgentRecord,
    ttl: number,
    expected: string | undefined,
    { signal }: CallOptions = {},
  ): Promise<StoredAgentRecord> {
    signal?.throwIfAborted();
    const condition: Condition = expected === undefined
      ? { type: "absent" }
      : { type: "revision", revision: expected };
    const key = this.#entries.agentKey(publicIP);
    const { revision } = this.#use.file.put(key, encodeAgentRecord(record), ttl, condition);
    return { publicIP, record, revision };
  }

  removeAgent({ publicIP, revision }: StoredAgentRecord, options?: CallOptions): Promise<void> {
    return this.#delete(this.#entries.agentKey(publicIP), { type: "revision", revision }, options);
  }

  // deno-lint-ignore require-await -- as above
  async putConfig(
    text: string,
    expected: string | undefined,
    { signal }: CallOptions = {},
  ): Promise<void> {
    signal?.throwIfAborted();
    const condition: Condition = expected === undefined
      ? { type: "absent" }
      : { type: "value", value: expected };
    const { file } = this.#use;
    const key = this.#entries.configKey;
    try {
      file.put(key, text, PERMANENT, condition);
    } catch (error) {
      // A caller that was told of a failure and tries again finds its own text.
      if (!(error instanceof ConflictError) || file.read(key)?.value !== text) throw error;
    }
  }

  removeConfig(expected: string, options?: CallOptions): Promise<void> {
    return this.#delete(this.#entries.configKey, { type: "value", value: expected }, options);
  }

  /** There is no connection that could be stale. */
  reconnect(): void {}

  async *watch(cursor: Cursor, options: WatchOptions): AsyncGenerator<WatchItem, void, void> {
    using ending = new Deadline(Infinity, () => undefined, options.signal, this.#disposed.signal);
    yield* this.#watch.watch(cursor, { ...options, signal: ending.signal });
  }

  // deno-lint-ignore require-await -- the interface is that of stores that take their time
  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed.abort();
    this.#use[Symbol.dispose]();
  }

  #snapshot(): Snapshot {
    const { file } = this.#use;
    const { entries, revision } = file.list(this.#entries.prefix);
    return this.#entries.snapshot(entries, CONFIG_MISSING, cursorAt(file, revision));
  }

  // deno-lint-ignore require-await -- as above
  async #putLease(
    subnet: Prefix,
    attributes: LeaseAttributes,
    ttl: number,
    condition: Condition,
    { signal }: CallOptions = {},
  ): Promise<Lease> {
    signal?.throwIfAborted();
    const value = encodeLeaseValue(attributes, this.leaseForm);
    const key = this.#entries.leaseKey(subnet);
    const { revision } = this.#use.file.put(key, value, ttl, condition);
    return { subnet, attributes, ttl, revision };
  }

  // deno-lint-ignore require-await -- as above
  async #delete(key: string, condition: Condition, { signal }: CallOptions = {}): Promise<void> {
    signal?.throwIfAborted();
    this.#use.file.delete(key, condition);
  }
}
