import { Buffer } from "node:buffer";
import { Deadline } from "../../deadline.ts";
import { displayEndpoints } from "../http.ts";
import { type EtcdV3Caller, EtcdV3Client } from "./client.ts";
import { prefixRange } from "./keys.ts";
import { atOneRevision, NEWEST } from "./revision.ts";
import { watchPrefix } from "./watch.ts";
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
 * Opens the names of the networks below a prefix of etcd v3; connects with the first call.
 *
 * @throws {ConfigError} when a file of `options` cannot be read or is no PEM
 */
export async function openEtcdV3Names(options: EtcdOptions): Promise<NetworkNames> {
  return new EtcdV3Names(options, new EtcdV3Client(options, await readTlsFiles(options)));
}

class EtcdV3Names implements NetworkNames {
  readonly name: string;
  readonly #client: EtcdV3Caller;
  readonly #reader: NameReader;
  readonly #closed = new AbortController();

  /** @param client disposed of with this */
  constructor(options: Pick<EtcdOptions, "endpoints" | "prefix">, client: EtcdV3Caller) {
    this.name = `etcd v3 at ${displayEndpoints(options.endpoints)}, below ${options.prefix}`;
    this.#client = client;
    this.#reader = new NameReader(options.prefix);
  }

  async snapshot({ signal }: CallOptions = {}): Promise<NamesSnapshot> {
    return await atOneRevision(() => this.#snapshot(signal));
  }

  async *watch(
    cursor: Cursor,
    options: WatchOptions,
  ): AsyncGenerator<WatchItem<NameChange, NamesSnapshot>, void> {
    using life = new Deadline(Infinity, () => undefined, options.signal, this.#closed.signal);
    yield* watchPrefix(this.#client, this.#reader, cursor, {
      ...options,
      signal: life.signal,
      snapshot: (signal) => this.snapshot({ signal }),
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed.abort();
    await this.#client[Symbol.asyncDispose]();
  }

  /**
   * Goes from child to child of the prefix: one call each, however many leases they hold. All of it is
   * read at the revision of the first call.
   */
  async #snapshot(signal: AbortSignal | undefined): Promise<NamesSnapshot> {
    const { prefix } = this.#reader;
    const names: string[] = [];
    const { key: first, range_end } = prefixRange(prefix);
    let key = first;
    let revision = NEWEST;
    for (;;) {
      const found = await this.#client.call(
        "range",
        { key, range_end, limit: 1, keys_only: true, revision },
        signal,
      );
      if (revision === NEWEST) revision = found.header.revision;
      const [kv] = found.kvs;
      if (kv === undefined) return { names, cursor: revision };
      const child = childOf(kv.key.toString(), prefix);
      if (child === undefined) {
        // A value beside the networks, such as the config of a network without a name.
        key = Buffer.concat([kv.key, Buffer.of(0)]);
        continue;
      }
      key = prefixRange(`${prefix}/${child}`).range_end;
      const network = this.#reader.networkAt(`${prefix}/${child}`);
      if (network !== undefined && await this.#hasConfig(network, revision, signal)) {
        names.push(network);
      }
    }
  }

  async #hasConfig(
    network: string,
    revision: string,
    signal: AbortSignal | undefined,
  ): Promise<boolean> {
    const key = Buffer.from(this.#reader.configKey(network));
    const { count } = await this.#client.call("range", { key, count_only: true, revision }, signal);
    return count !== "0";
  }
}

/** The part of a key after the prefix, up to the next slash; `undefined` when there is none. */
function childOf(key: string, prefix: string): string | undefined {
  const start = prefix.length + 1;
  const slash = key.indexOf("/", start);
  return slash < 0 ? undefined : key.slice(start, slash);
}
