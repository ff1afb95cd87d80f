/**
 * The networks that a store keeps beside each other: `<prefix>/<network>/config` and what belongs to
 * it. Each network is a store of its own; here are only their names.
 *
 * @module
 */
import { warning } from "../observe/log/log.ts";
import type { KeyReader, RawEntry } from "./entries.ts";
import { isNetworkName, LONGEST_NAME } from "./network_name.ts";
import type { CallOptions, Cursor, WatchItem, WatchOptions } from "./store.ts";

/** The names of all networks at one moment. */
export interface NamesSnapshot {
  readonly names: readonly string[];
  /** A watch from here misses nothing that this snapshot lacks. */
  readonly cursor: Cursor;
}

/** A network's config was written, or is gone. A network may be reported as what it is already. */
export type NameChange =
  | { readonly type: "added"; readonly network: string }
  | { readonly type: "removed"; readonly network: string };

/**
 * Lists and watches the names of networks: those of the children of a prefix that have a config.
 *
 * Adapters are interchangeable, and reject as {@linkcode Store} does.
 */
export interface NetworkNames extends AsyncDisposable {
  /** For logs, as {@linkcode Store.name}. */
  readonly name: string;

  /** Reads all names at one moment, linearizable. */
  snapshot(options?: CallOptions): Promise<NamesSnapshot>;

  /** Yields what happens after `cursor`, as {@linkcode Store.watch} does. */
  watch(cursor: Cursor, options: WatchOptions): AsyncIterable<WatchItem<NameChange, NamesSnapshot>>;
}

/** Keys that belong to the network of the prefix itself, not to one beside it. */
const OWN: ReadonlySet<string> = new Set(["subnets", "agents"]);

/** Reads the names of networks from the keys of etcd. */
export class NameReader implements KeyReader<NameChange> {
  readonly prefix: string;
  readonly #warned = new Set<string>();

  /** @param prefix directory of the networks, without a trailing slash */
  constructor(prefix: string) {
    this.prefix = prefix;
  }

  /** Key of a network's config. */
  configKey(network: string): string {
    return `${this.prefix}/${network}/config`;
  }

  /**
   * The network whose config a key is; `undefined` for any other key. A network that cannot be served
   * under its name is warned of once.
   */
  networkOf(key: string): string | undefined {
    if (!key.startsWith(`${this.prefix}/`) || !key.endsWith("/config")) return undefined;
    return this.#named(key.slice(this.prefix.length + 1, -"/config".length));
  }

  /** The network whose directory a key is. */
  networkAt(directory: string): string | undefined {
    if (!directory.startsWith(`${this.prefix}/`)) return undefined;
    return this.#named(directory.slice(this.prefix.length + 1));
  }

  put({ key }: Pick<RawEntry, "key">): NameChange | undefined {
    const network = this.networkOf(key);
    return network === undefined ? undefined : { type: "added", network };
  }

  remove(key: string): NameChange | undefined {
    const network = this.networkOf(key);
    return network === undefined ? undefined : { type: "removed", network };
  }

  #named(name: string): string | undefined {
    if (name === "" || name.includes("/") || OWN.has(name)) return undefined;
    if (isNetworkName(name)) return name;
    if (!this.#warned.has(name) && this.#warned.size < 100) {
      this.#warned.add(name);
      warning(
        `Ignoring network ${JSON.stringify(name)} below ${this.prefix}: a name may have letters, ` +
          `digits and . _ ~ -, not begin with a dot, and have ${LONGEST_NAME} characters at most`,
      );
    }
    return undefined;
  }
}
