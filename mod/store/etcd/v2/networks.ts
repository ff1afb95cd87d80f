import { displayEndpoints, EtcdHttp } from "../http.ts";
import { type Answer, EtcdV2Client, isKeyNotFound } from "./client.ts";
import { cursorAt } from "./etcd_v2.ts";
import type { EventMeaning } from "./event.ts";
import { DEFAULT_TIMING, type WatchTiming } from "./watch_position.ts";
import { watchEtcdV2 } from "./watch.ts";
import {
  type NameChange,
  NameReader,
  type NamesSnapshot,
  type NetworkNames,
} from "../../networks.ts";
import type { EtcdOptions } from "../../options.ts";
import type { CallOptions, Cursor, WatchItem, WatchOptions } from "../../store.ts";
import { readTlsFiles } from "../tls_files.ts";

/**
 * Opens the names of the networks below a prefix of etcd v2. No connection is made yet.
 *
 * @param timing times of watches, for tests
 * @throws {ConfigError} when a TLS file or an endpoint cannot be used
 */
export async function openEtcdV2Names(
  options: EtcdOptions,
  timing: Partial<WatchTiming> = {},
): Promise<NetworkNames> {
  const client = new EtcdV2Client(new EtcdHttp(options, await readTlsFiles(options)));
  return new EtcdV2Names(options, client, { ...DEFAULT_TIMING, ...timing });
}

class EtcdV2Names implements NetworkNames {
  readonly name: string;
  readonly #client: EtcdV2Client;
  readonly #reader: NameReader;
  readonly #timing: WatchTiming;

  constructor(options: EtcdOptions, client: EtcdV2Client, timing: WatchTiming) {
    this.name = `etcd v2 at ${displayEndpoints(options.endpoints)}, below ${options.prefix}`;
    this.#client = client;
    this.#reader = new NameReader(options.prefix);
    this.#timing = timing;
  }

  snapshot({ signal }: CallOptions = {}): Promise<NamesSnapshot> {
    return listNames(this.#client, this.#reader, signal);
  }

  watch(
    cursor: Cursor,
    options: WatchOptions,
  ): AsyncIterable<WatchItem<NameChange, NamesSnapshot>> {
    return watchEtcdV2(
      {
        client: this.#client,
        prefix: this.#reader.prefix,
        timing: this.#timing,
        read: (event) => readNameEvent(event, this.#reader),
        snapshot: (signal) => this.snapshot({ signal }),
      },
      cursor,
      options,
    );
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#client[Symbol.dispose]();
    return Promise.resolve();
  }
}

/**
 * Reads the names of the networks in one listing, leases and all, as flannel does: v2 has no other way
 * that is of one moment.
 *
 * @throws {StoreError} as the client does; a missing directory is an empty one
 */
export async function listNames(
  client: EtcdV2Client,
  reader: NameReader,
  signal?: AbortSignal,
): Promise<NamesSnapshot> {
  let names: string[] = [];
  try {
    const position = await client.list(reader.prefix, () => {
      names = [];
      return ({ key, dir }) => {
        const network = dir ? undefined : reader.networkOf(key);
        if (network !== undefined) names.push(network);
      };
    }, signal);
    return { names, cursor: cursorAt(position) };
  } catch (error) {
    if (!isKeyNotFound(error)) throw error;
    return { names: [], cursor: cursorAt(error.position) };
  }
}

/** Reads one event of a recursive watch on the networks' directory. */
function readNameEvent(
  { action, node }: Answer,
  reader: NameReader,
): EventMeaning<NameChange> {
  const { prefix } = reader;
  const removed = action === "delete" || action === "expire" || action === "compareAndDelete";
  if (removed && (node.key === prefix || prefix.startsWith(`${node.key}/`))) {
    const how = action === "expire" ? "expired" : "deleted";
    return { type: "directory-gone", reason: `${node.key} was ${how}` };
  }
  let change: NameChange | undefined;
  if (!removed) change = node.dir ? undefined : reader.put(node);
  else {
    // With its directory goes all of a network; one event tells of it.
    const network = reader.networkAt(node.key);
    change = network === undefined ? reader.remove(node.key) : { type: "removed", network };
  }
  return change === undefined ? { type: "nothing" } : { type: "change", change };
}
