import { info, warning } from "../../observe/mod.ts";
import { notifySystemd } from "../../observe/systemd.ts";
import { StoreError } from "../../store/mod.ts";
import type { NamesSnapshot, NetworkNames } from "../../store/network_names.ts";
import { type NamesOpened, openNetworkNames } from "../../store/open.ts";
import type { StoreOptions } from "../../store/options.ts";
import { MOST_NETWORKS, servedFirst, subnetFiles } from "./options.ts";
import type { NetworksOptions } from "../core/options.ts";
import { insist } from "../core/insist.ts";
import { WarningLog } from "../core/warning_log.ts";

/** The networks that this host serves, and their changes. */
export interface NetworkFeed extends AsyncDisposable {
  /** The store that holds the networks; with etcd the API that has them. */
  readonly store: StoreOptions;
  readonly first: ReadonlySet<string>;
  /** Yields the complete set after each change; ends when the signal aborts. */
  follow(signal: AbortSignal): AsyncIterable<ReadonlySet<string>>;
}

/**
 * Opens the feed of networks to serve: the listed ones, or with `watch` the allowed ones in the store.
 * Retries until the store answers.
 *
 * A listed network is served even without a config: its agent waits for one.
 *
 * @throws the reason of `signal` when it aborts
 * @throws {ConfigError | AmbiguousConfigError | StoreFileError} for an error that a retry does not fix
 */
export async function networkFeed(
  options: StoreOptions,
  networks: NetworksOptions,
  signal: AbortSignal,
): Promise<NetworkFeed> {
  if (!networks.watch) return listed(options, networks.allowed);
  const state = new WarningLog();
  const onFailure = (reason: string) => {
    state.report(`Failed to retrieve networks: ${reason}`);
    notifySystemd(`STATUS=Waiting for the list of networks: ${reason}`);
  };
  const opened = await insist(signal, async () => {
    const found = await openNetworkNames(options, { signal, owner: true });
    if ("waiting" in found) throw new StoreError(found.waiting);
    return found;
  }, onFailure);
  info(opened.note);
  try {
    const snapshot = await insist(signal, () => opened.names.snapshot({ signal }), onFailure);
    const served = await subnetFiles(networks.directory);
    const feed = new WatchedFeed(opened, snapshot, networks.allowed, served);
    if (feed.first.size === 0) warning(noneYet(opened.names.name, networks.allowed));
    return feed;
  } catch (error) {
    await opened.names[Symbol.asyncDispose]();
    throw error;
  }
}

/** Returns the warning for an empty list. The store may have a config of the unnamed network, which is not served. */
function noneYet(place: string, allowed: readonly string[]): string {
  const [name = "blue"] = allowed;
  const which = allowed.length === 0 ? "" : ` of -networks=${allowed.join()}`;
  return `there is no network${which} in ${place} yet; write the config of one, for example: ` +
    `flanneld config set -networks=${name} '{"Network": "10.20.0.0/16"}', with the store's flags`;
}

function listed(store: StoreOptions, allowed: readonly string[]): NetworkFeed {
  return {
    store,
    first: new Set(allowed),
    // deno-lint-ignore require-yield -- the list never changes
    async *follow(signal) {
      if (signal.aborted) return;
      await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

class WatchedFeed implements NetworkFeed {
  readonly store: StoreOptions;
  readonly first: ReadonlySet<string>;
  readonly #source: NetworkNames;
  readonly #cursor: string;
  readonly #allowed: ReadonlySet<string>;
  readonly #refused = new Set<string>();
  /** Networks that are served. */
  readonly #names = new Set<string>();
  /** Networks beyond the limit, which wait. */
  readonly #waiting = new Set<string>();
  #isFull = false;

  /** @param served networks that this host has served before; they take precedence above the limit */
  constructor(
    { names, store }: Extract<NamesOpened, { names: NetworkNames }>,
    snapshot: NamesSnapshot,
    allowed: readonly string[],
    served: ReadonlySet<string>,
  ) {
    this.#source = names;
    this.#cursor = snapshot.cursor;
    this.#allowed = new Set(allowed);
    this.store = store;
    this.#replace(snapshot.names, served);
    this.first = new Set(this.#names);
  }

  async *follow(signal: AbortSignal): AsyncIterable<ReadonlySet<string>> {
    const connection = new WarningLog();
    const onState = (error: Error | undefined) => {
      if (error !== undefined) connection.report(`Watch networks: ${error.message}`);
      else if (connection.clear()) info("Watch networks: connected again");
    };
    for await (const item of this.#source.watch(this.#cursor, { signal, onState })) {
      if (item.type === "resync") {
        info(`read the list of networks again: ${item.reason}`);
        this.#replace(item.snapshot.names, new Set(this.#names));
      } else {
        for (const { type, network } of item.changes) {
          if (type === "added") this.#admit(network);
          else this.#forget(network);
        }
      }
      yield new Set(this.#names);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#source[Symbol.asyncDispose]();
  }

  /** Applies a new list. @param first networks to serve before others */
  #replace(names: readonly string[], first: ReadonlySet<string>): void {
    this.#names.clear();
    this.#waiting.clear();
    for (const name of servedFirst(names, first)) this.#admit(name);
    this.#isFull = this.#waiting.size > 0;
  }

  #forget(network: string): void {
    this.#waiting.delete(network);
    if (!this.#names.delete(network)) return;
    const [next] = this.#waiting;
    this.#isFull = next !== undefined;
    if (next === undefined) return;
    this.#waiting.delete(next);
    this.#names.add(next);
  }

  /** Serves an allowed network; an empty list allows all, up to {@linkcode MOST_NETWORKS}. */
  #admit(network: string): void {
    if (this.#allowed.has(network)) {
      this.#names.add(network);
    } else if (this.#allowed.size === 0) {
      if (this.#names.has(network)) return;
      if (this.#names.size < MOST_NETWORKS) {
        this.#names.add(network);
        return;
      }
      this.#waiting.add(network);
      if (this.#isFull) return;
      this.#isFull = true;
      warning(
        `-watch-networks serves ${MOST_NETWORKS} networks at most: "${network}" and others wait until one ` +
          "is removed; name the networks of this host with -networks",
        { networkName: network, count: MOST_NETWORKS },
      );
    } else if (!this.#refused.has(network)) {
      this.#refused.add(network);
      warning(`Network "${network}" is not allowed`, { networkName: network });
    }
  }
}
