import { PERMANENT } from "../../../lease/mod.ts";
import { ConflictError, StoreError } from "../../errors.ts";
import {
  type CallOptions,
  type Cursor,
  type DeleteOptions,
  isInRange,
  type KeyRange,
  type Kv,
  type KvEntry,
  type KvWatchItem,
  type Listing,
  type PutOptions,
  type WatchOptions,
} from "../../kv/kv.ts";

import { displayEndpoints } from "../endpoints.ts";
import { EtcdHttp } from "../http.ts";
import type { EtcdOptions } from "../options.ts";
import { readTlsFiles } from "../tls_files.ts";
import {
  type Answer,
  ErrorCode,
  EtcdV2Client,
  EtcdV2Error,
  isKeyNotFound,
  type Position,
} from "./client.ts";
import { missingText, toEntry } from "./event.ts";
import { watchEtcdV2 } from "./watch.ts";
import { DEFAULT_TIMING, formatCursor, type WatchTiming } from "./watch_position.ts";

/**
 * Opens the store of flannel up to 0.17: etcd's v2 keys API, plain HTTP. No connection is made yet.
 *
 * @param timing times of watches, for tests
 * @throws {ConfigError} when a TLS file or an endpoint cannot be used
 */
export async function openEtcdV2(
  options: EtcdOptions,
  timing: Partial<WatchTiming> = {},
): Promise<Kv> {
  const client = new EtcdV2Client(new EtcdHttp(options, await readTlsFiles(options)));
  return new EtcdV2Kv(options, client, { ...DEFAULT_TIMING, ...timing });
}

/** Query of every read: through the quorum, so that no member answers from its past. */
const READ = { quorum: true, recursive: false, sorted: false } as const;

/** Keys and values of etcd v2. */
export class EtcdV2Kv implements Kv {
  readonly name: string;
  readonly leaseForm = "v0.7";
  readonly #client: EtcdV2Client;
  readonly #timing: WatchTiming;

  constructor(
    { endpoints }: Pick<EtcdOptions, "endpoints">,
    client: EtcdV2Client,
    timing: WatchTiming,
  ) {
    this.name = `etcd v2 at ${displayEndpoints(endpoints)}`;
    this.#client = client;
    this.#timing = timing;
  }

  async get(key: string, { signal }: CallOptions = {}): Promise<KvEntry | undefined> {
    let answer: Answer;
    try {
      [answer] = await this.#client.call({ method: "GET", key, query: READ }, signal);
    } catch (error) {
      if (isKeyNotFound(error)) return undefined;
      throw error;
    }
    return toEntry(answer.node);
  }

  async list(range: KeyRange, { signal }: CallOptions = {}): Promise<Listing> {
    const { prefix } = range;
    let entries: KvEntry[] = [];
    let isValue = false;
    let position: Position;
    try {
      position = await this.#client.list(prefix, () => {
        entries = [];
        return (leaf) => {
          if (isInRange(range, leaf.key)) entries.push(toEntry(leaf));
          isValue = leaf.key === prefix && !leaf.dir;
        };
      }, signal);
    } catch (error) {
      if (!isKeyNotFound(error)) throw error;
      return { entries: [], cursor: cursorAt(error.position), missing: () => error.message };
    }
    const { index = 0 } = position;
    return {
      entries,
      cursor: cursorAt(position),
      // etcd's message for a path that leads through a value.
      missing: (key) =>
        isValue ? `104: Not a directory (${prefix}) [${index}]` : missingText(key, index),
    };
  }

  async put(
    key: string,
    value: string,
    { expect, ttl, signal }: PutOptions,
  ): Promise<KvEntry> {
    try {
      const [{ node }] = await this.#client.call({
        method: "PUT",
        key,
        query: expect === "any"
          ? {}
          : expect === "absent"
          ? { prevExist: false }
          : { prevIndex: expect.revision },
        // A value without ttl is permanent, and loses the ttl that it had.
        form: ttl === PERMANENT ? { value } : { ttl, value },
      }, signal);
      return toEntry(node);
    } catch (error) {
      throw conflictOr(error);
    }
  }

  async delete(key: string, { expect, signal }: DeleteOptions): Promise<void> {
    const query = expect === "any" ? {} : { prevIndex: expect.revision };
    try {
      await this.#client.call({ method: "DELETE", key, query }, signal);
    } catch (error) {
      if (isKeyNotFound(error)) return;
      throw conflictOr(error);
    }
  }

  watch(range: KeyRange, cursor: Cursor, options: WatchOptions): AsyncIterable<KvWatchItem> {
    return watchEtcdV2(
      {
        client: this.#client,
        range,
        timing: this.#timing,
        list: (signal) => this.list(range, { signal }),
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
}

/** @throws {StoreError} when a proxy hides etcd's position */
function cursorAt({ index, cluster }: Position): Cursor {
  if (index === undefined) {
    throw new StoreError(
      "etcd's answer lacks the header X-Etcd-Index; a proxy may have dropped it",
    );
  }
  return formatCursor({ index, cluster });
}

/** Turns etcd's refusals of a compare-and-swap into {@linkcode ConflictError}. */
function conflictOr(error: unknown): unknown {
  if (!(error instanceof EtcdV2Error)) return error;
  const { keyNotFound, compareFailed, keyExists } = ErrorCode;
  return error.code === keyNotFound || error.code === compareFailed || error.code === keyExists
    ? new ConflictError(error.message, { cause: error })
    : error;
}
