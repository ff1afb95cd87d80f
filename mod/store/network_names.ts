import { warning } from "../observe/log/log.ts";
import {
  type CallOptions,
  type Cursor,
  isInRange,
  type KeyRange,
  type Kv,
  type KvChange,
  type KvEntry,
  type Listing,
  type Watched,
  type WatchOptions,
} from "./kv/kv.ts";
import { isNetworkName, MAX_NAME_LENGTH, UNNAMED_NETWORK } from "./network_name.ts";
import { decodeWatch } from "./network_store.ts";

/** The names of all networks at one moment. */
export interface NamesSnapshot {
  readonly names: readonly string[];
  /** A watch from here misses nothing that this snapshot lacks. */
  readonly cursor: Cursor;
}

/** A network's config was written, or is gone. A change may repeat what is known already. */
export interface NameChange {
  readonly type: "added" | "removed";
  readonly network: string;
}

/** Keys that belong to the network of the prefix itself, not to one beside it. */
const OWN: ReadonlySet<string> = new Set(["subnets", "agents"]);

/** Reads the names of networks from keys. */
export class NameReader {
  /** The configs of all networks. */
  readonly range: KeyRange;
  readonly #warned = new Set<string>();

  /**
   * @param prefix directory of the networks, without a trailing slash; empty where every network has a
   * name, and `_` stands for the unnamed one
   */
  constructor(prefix: string) {
    this.range = { prefix, leaf: "config" };
  }

  /** Returns the network whose config an entry is; warns once of a name that cannot be served. */
  nameOf({ key, problem }: Pick<KvEntry, "key" | "problem">): string | undefined {
    if (problem !== undefined || !isInRange(this.range, key)) return undefined;
    const { prefix } = this.range;
    const name = key.slice(prefix.length + 1, -"/config".length);
    if (OWN.has(name)) return undefined;
    if (prefix === "" && name === UNNAMED_NETWORK) return undefined;
    if (isNetworkName(name)) return name;
    if (!this.#warned.has(name) && this.#warned.size < 100) {
      this.#warned.add(name);
      warning(
        `Ignoring network ${JSON.stringify(name)} below ${prefix}: a name may have letters, ` +
          `digits and . _ ~ -, not begin with a dot, and have ${MAX_NAME_LENGTH} characters at most`,
      );
    }
    return undefined;
  }
}

/**
 * The names of the networks that a store keeps beside each other: the children of a prefix that have a
 * config, `<prefix>/<network>/config`.
 */
export class NetworkNames implements AsyncDisposable {
  /** For logs, as {@linkcode NetworkStore.name}. */
  readonly name: string;
  readonly #kv: Kv;
  readonly #reader: NameReader;

  /**
   * @param kv disposed of with this
   * @param prefix as {@linkcode NameReader}'s
   */
  constructor(kv: Kv, prefix: string, name: string) {
    this.#kv = kv;
    this.#reader = new NameReader(prefix);
    this.name = name;
  }

  /** Reads all names at one moment, linearizable. */
  async snapshot(options?: CallOptions): Promise<NamesSnapshot> {
    return this.#decode(await this.#kv.list(this.#reader.range, options));
  }

  /** Yields what happens after `cursor`, see {@linkcode Kv.watch}. */
  watch(
    cursor: Cursor,
    options: WatchOptions,
  ): AsyncIterable<Watched<NameChange, NamesSnapshot>> {
    return decodeWatch(
      this.#kv.watch(this.#reader.range, cursor, options),
      (changes) => changes.map((change) => this.#change(change)).filter((one) => one !== undefined),
      (listing) => this.#decode(listing),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#kv[Symbol.asyncDispose]();
  }

  #decode({ entries, cursor }: Listing): NamesSnapshot {
    const names = entries.map((entry) => this.#reader.nameOf(entry)).filter((name) =>
      name !== undefined
    );
    return { names, cursor };
  }

  #change(change: KvChange): NameChange | undefined {
    const network = this.#reader.nameOf(change.type === "put" ? change.entry : change);
    if (network === undefined) return undefined;
    return { type: change.type === "put" ? "added" : "removed", network };
  }
}
