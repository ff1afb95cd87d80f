import { decodeNetworkConfig, type NetworkConfig } from "../config/mod.ts";
import type { KvChange, Listing } from "../store/kv/kv.ts";
import { type NetworkStore, StoreError, StoreUnavailableError } from "../store/mod.ts";
import { isNetworkName, UNNAMED_NETWORK } from "../store/network_name.ts";
import type { NameChange, NamesSnapshot, NetworkNames } from "../store/network_names.ts";
import { HttpError } from "../http/head.ts";
import { Feed, type FeedSource, type FeedState } from "./feed.ts";
import { NetworkState } from "./network_state.ts";

/** Largest number of networks served at a time: each costs a watch of the store. */
const MOST_NETWORKS = 256;

/** One network, as it is served. */
export interface ServedNetwork {
  readonly store: NetworkStore;
  readonly state: NetworkState;
  readonly feed: Feed<KvChange, Listing, KvChange>;
}

/** The networks' names, as they are served. */
export type NamesFeed = Feed<NameChange, NamesSnapshot, NameChange>;

/** The names with their source, where there is one. */
interface OpenedNames {
  readonly names: NetworkNames | undefined;
  readonly feed: NamesFeed;
  readonly state: NamesState;
}

/** Source of the networks. */
export interface NetworkSource {
  /** Opens the store of a network; the unnamed one is {@linkcode UNNAMED_NETWORK}. */
  open(network: string, signal: AbortSignal): Promise<NetworkStore>;
  /** Opens the names of all others; absent where there are none. */
  names?(signal: AbortSignal): Promise<NetworkNames>;
}

/** The requested networks, each with its store opened once. */
export class ServedNetworks implements AsyncDisposable {
  readonly #source: NetworkSource;
  readonly #networks = new Map<string, Promise<ServedNetwork>>();
  readonly #closing = new AbortController();
  #names: Promise<OpenedNames> | undefined;
  #makingRoom: Promise<void> | undefined;

  constructor(source: NetworkSource) {
    this.#source = source;
  }

  /**
   * @param isTrusted false for a client without credentials: for it no store is opened of a network without a config,
   * since each costs a connection
   * @returns `undefined` for a name that no network has
   * @throws {HttpError} when the network has no config, for a client without credentials
   * @throws {StoreError} when its store cannot be opened, or there are too many networks
   */
  async get(name: string, isTrusted = true): Promise<ServedNetwork | undefined> {
    if (!isNetworkName(name)) return undefined;
    this.#closing.signal.throwIfAborted();
    if (!isTrusted && name !== UNNAMED_NETWORK && !this.#networks.has(name)) {
      await this.#requireConfig(name);
    }
    // Another may have opened it while room was made.
    while (!this.#networks.has(name) && this.#networks.size >= MOST_NETWORKS) {
      await (this.#makingRoom ??= this.#makeRoom().finally(() => this.#makingRoom = undefined));
    }
    let network = this.#networks.get(name);
    if (network === undefined) {
      network = this.#open(name);
      this.#networks.set(name, network);
      // The next request tries again.
      network.catch(() => this.#networks.delete(name));
    }
    return await network;
  }

  /** The names of all networks but the unnamed. */
  async names(): Promise<NamesFeed> {
    return (await this.#openedNames()).feed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort(new StoreError("the server is shutting down"));
    // It may be closing a store that is no longer in the map.
    await this.#makingRoom?.catch(() => {});
    for (const opening of this.#networks.values()) await opening.then(close, () => {});
    await this.#names?.then(async ({ names, feed }) => {
      feed[Symbol.dispose]();
      await names?.[Symbol.asyncDispose]();
    }, () => {});
  }

  async #open(name: string): Promise<ServedNetwork> {
    const store = await this.#source.open(name, this.#closing.signal);
    const { kv, entries } = store;
    const state = new NetworkState(entries);
    const range = { prefix: entries.prefix };
    const feed = new Feed({
      snapshot: (options) => kv.list(range, options),
      watch: (cursor, options) => kv.watch(range, cursor, options),
    }, state);
    return { store, state, feed };
  }

  async #openedNames(): Promise<OpenedNames> {
    this.#names ??= this.#openNames();
    this.#names.catch(() => this.#names = undefined);
    return await this.#names;
  }

  async #openNames(): Promise<OpenedNames> {
    const names = await this.#source.names?.(this.#closing.signal);
    const state = new NamesState();
    return { names, feed: new Feed(names ?? NO_NAMES, state), state };
  }

  async #requireConfig(name: string): Promise<void> {
    const { names, feed, state } = await this.#openedNames();
    if (names === undefined) return;
    await feed.ready();
    if (!state.has(name)) {
      throw new HttpError(503, `network ${name} has no config in the store of this server`);
    }
  }

  /** Gives up a network without a config: anybody can ask for any name. */
  async #makeRoom(): Promise<void> {
    for (const [name, opening] of this.#networks) {
      const network = await opening.catch(() => undefined);
      if (name === UNNAMED_NETWORK || network === undefined) continue;
      if (network.feed.isLive && "text" in network.state.config) continue;
      this.#networks.delete(name);
      await close(network);
      return;
    }
    throw new StoreUnavailableError(`the server serves ${MOST_NETWORKS} networks already`);
  }
}

async function close({ feed, store }: ServedNetwork): Promise<void> {
  feed[Symbol.dispose]();
  await store[Symbol.asyncDispose]();
}

/**
 * Returns the network's config as it stands.
 *
 * @throws {StoreError} when there is none
 * @throws {ConfigError} when it is invalid
 */
export async function configOf({ feed, state }: ServedNetwork): Promise<NetworkConfig> {
  await feed.ready();
  const { config } = state;
  if ("missing" in config) throw new StoreError(config.missing);
  return await decodeNetworkConfig(config.text);
}

/** The known names. */
class NamesState implements FeedState<NameChange, NamesSnapshot, NameChange> {
  readonly #names = new Set<string>();

  has(name: string): boolean {
    return this.#names.has(name);
  }

  replace({ names }: NamesSnapshot): NameChange[] {
    const gone = [...this.#names].filter((name) => !names.includes(name));
    return [
      ...gone.map((network) => this.apply({ type: "removed", network })),
      ...names.map((network) => this.apply({ type: "added", network })),
    ].filter((event) => event !== undefined);
  }

  apply({ type, network }: NameChange): NameChange | undefined {
    if (type === "removed") return this.#names.delete(network) ? { type, network } : undefined;
    // A config that is written again may be that of a network that was set up again.
    this.#names.add(network);
    return { type, network };
  }
}

/** The names of a store that keeps no networks beside each other. */
const NO_NAMES: FeedSource<NameChange, NamesSnapshot> = {
  snapshot: () => Promise.resolve({ names: [], cursor: "0" }),
  // deno-lint-ignore require-yield -- there is no name
  async *watch(_cursor, { signal }) {
    await new Promise<void>((resolve) => {
      if (signal.aborted) resolve();
      signal.addEventListener("abort", () => resolve(), { once: true });
    });
  },
};
