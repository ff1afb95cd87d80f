import { PERMANENT } from "../../../lease/mod.ts";
import { type RawEntry, SnapshotBuilder } from "../../entries.ts";
import { EntryStore, type WrittenEntry } from "../../entry_store.ts";
import { ConflictError, StoreError } from "../../errors.ts";
import { displayEndpoints, EtcdHttp } from "../http.ts";
import {
  type Answer,
  ErrorCode,
  EtcdV2Client,
  EtcdV2Error,
  isKeyNotFound,
  type Position,
} from "./client.ts";
import { missingText, rawEntry, readEvent } from "./event.ts";
import { DEFAULT_TIMING, formatCursor, type WatchTiming } from "./watch_position.ts";
import { watchEtcdV2 } from "./watch.ts";
import type { EtcdOptions } from "../../options.ts";
import type { CallOptions, Cursor, Snapshot, Store, WatchItem, WatchOptions } from "../../store.ts";
import { readTlsFiles } from "../tls_files.ts";

/**
 * Opens the store of flannel up to 0.17: etcd's v2 keys API, plain HTTP. No connection is made yet.
 *
 * @param timing times of watches, for tests
 * @throws {ConfigError} when a TLS file or an endpoint cannot be used
 */
export async function openEtcdV2(
  options: EtcdOptions,
  timing: Partial<WatchTiming> = {},
): Promise<Store> {
  const client = new EtcdV2Client(new EtcdHttp(options, await readTlsFiles(options)));
  return new EtcdV2Store(options, client, { ...DEFAULT_TIMING, ...timing });
}

/** Query of every read: through the quorum, so that no member answers from its past. */
const READ = { quorum: true, recursive: false, sorted: false } as const;

class EtcdV2Store extends EntryStore {
  readonly name: string;
  readonly leaseForm = "v0.7";
  readonly #client: EtcdV2Client;
  readonly #timing: WatchTiming;

  constructor(options: EtcdOptions, client: EtcdV2Client, timing: WatchTiming) {
    super(options.prefix);
    this.name = `etcd v2 at ${displayEndpoints(options.endpoints)}, prefix ${options.prefix}`;
    this.#client = client;
    this.#timing = timing;
  }

  async snapshot({ signal }: CallOptions = {}): Promise<Snapshot> {
    const { prefix, configKey } = this.entries;
    let builder = new SnapshotBuilder(this.entries);
    let isValue = false;
    let position: Position;
    try {
      position = await this.#client.list(prefix, () => {
        builder = new SnapshotBuilder(this.entries);
        return (leaf) => {
          if (!leaf.dir) builder.add(rawEntry(leaf));
          else if (leaf.key === configKey) this.entries.ignore(leaf.key, "is a directory");
          isValue = leaf.key === prefix && !leaf.dir;
        };
      }, signal);
    } catch (error) {
      if (!isKeyNotFound(error)) throw error;
      return builder.build(error.message, cursorAt(error.position));
    }
    const { index = 0 } = position;
    return builder.build(
      // etcd's words for a path that leads through a value.
      isValue ? `104: Not a directory (${prefix}) [${index}]` : missingText(configKey, index),
      cursorAt(position),
    );
  }

  watch(cursor: Cursor, options: WatchOptions): AsyncIterable<WatchItem> {
    return watchEtcdV2(
      {
        client: this.#client,
        prefix: this.entries.prefix,
        timing: this.#timing,
        read: (event) => readEvent(event, this.entries),
        snapshot: (signal) => this.snapshot({ signal }),
      },
      cursor,
      options,
    );
  }

  reconnect(): void {
    this.#client.reconnect();
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#client[Symbol.dispose]();
    return Promise.resolve();
  }

  protected async remove(
    key: string,
    expected: string,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    try {
      await this.#client.call({ method: "DELETE", key, query: { prevIndex: expected } }, signal);
    } catch (error) {
      if (isKeyNotFound(error)) return;
      throw conflictOr(error);
    }
  }

  protected async read(
    key: string,
    signal: AbortSignal | undefined,
  ): Promise<RawEntry | undefined> {
    let answer: Answer;
    try {
      [answer] = await this.#client.call({ method: "GET", key, query: READ }, signal);
    } catch (error) {
      if (isKeyNotFound(error)) return undefined;
      throw error;
    }
    if (answer.node.dir) {
      this.entries.ignore(key, "is a directory");
      return undefined;
    }
    return rawEntry(answer.node);
  }

  protected async write(
    key: string,
    value: string,
    ttl: number,
    expected: string | undefined,
    signal: AbortSignal | undefined,
  ): Promise<WrittenEntry> {
    try {
      const [{ node }] = await this.#client.call({
        method: "PUT",
        key,
        query: expected === undefined ? { prevExist: false } : { prevIndex: expected },
        // A value without ttl stays for ever, and loses the one it had.
        form: ttl === PERMANENT ? { value } : { ttl, value },
      }, signal);
      const written = rawEntry(node);
      return { ttl: written.ttl ?? PERMANENT, revision: written.revision };
    } catch (error) {
      throw conflictOr(error);
    }
  }
}

/** Where a watch goes on after an answer.
 *
 * @throws {StoreError} when a proxy hides etcd's position
 */
export function cursorAt({ index, cluster }: Position): Cursor {
  if (index === undefined) {
    throw new StoreError(
      "etcd's answer lacks the header X-Etcd-Index; a proxy may have dropped it",
    );
  }
  return formatCursor({ index, cluster });
}

/** Turns "somebody was faster" into the contract's error. */
function conflictOr(error: unknown): unknown {
  if (!(error instanceof EtcdV2Error)) return error;
  const { keyNotFound, compareFailed, keyExists } = ErrorCode;
  return error.code === keyNotFound || error.code === compareFailed || error.code === keyExists
    ? new ConflictError(error.message, { cause: error })
    : error;
}
