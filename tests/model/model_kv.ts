import type { LeaseForm } from "../../mod/lease/mod.ts";
import {
  type CallOptions,
  changesInRange,
  type Cursor,
  type DeleteOptions,
  isInRange,
  type KeyRange,
  type Kv,
  type KvChange,
  type KvEntry,
  type KvWatchItem,
  type Listing,
  type PutOptions,
  type WatchOptions,
} from "../../mod/store/kv/kv.ts";
import { NetworkStore, type WatchItem } from "../../mod/store/network_store.ts";
import {
  entryOfReply,
  formatRevision,
  type StoreData,
  type StoreEvent,
  type StoreReply,
  type StoreRequest,
} from "./store_data.ts";

/** The message for a missing key. */
const MISSING = "the model holds no network config";

/** Carries a request to the data, by whatever way and time it takes. */
export type Transport = (request: StoreRequest) => Promise<StoreReply>;

/** An adapter over {@linkcode StoreData}, as the project has one for each kind of store. */
export class ModelKv implements Kv {
  readonly name: string;
  readonly leaseForm: LeaseForm;
  readonly #data: StoreData;
  readonly #transport: Transport;
  readonly #disposed = new AbortController();

  constructor(data: StoreData, transport: Transport) {
    this.name = `model of ${data.traits.name}`;
    this.leaseForm = data.traits.leaseForm;
    this.#data = data;
    this.#transport = transport;
  }

  async get(key: string, { signal }: CallOptions = {}): Promise<KvEntry | undefined> {
    return entryOfReply(await this.#call({ type: "read", key }, signal));
  }

  async list(range: KeyRange, { signal }: CallOptions = {}): Promise<Listing> {
    const reply = await this.#call({ type: "list", prefix: range.prefix }, signal);
    if (reply.type !== "listing") throw new TypeError("the reply is no listing");
    return listingOf(reply.listing, range);
  }

  async put(key: string, value: string, { expect, ttl, signal }: PutOptions): Promise<KvEntry> {
    const request = { type: "write", key, value, ttl, expect, token: {} } as const;
    const written = entryOfReply(await this.#call(request, signal))!;
    return { ...written, ttl: written.ttl ?? ttl };
  }

  async delete(key: string, { expect, signal }: DeleteOptions): Promise<void> {
    entryOfReply(await this.#call({ type: "remove", key, expect }, signal));
  }

  /** Returns the events after `cursor`: equal for two cursors without later events. */
  pending(cursor: Cursor): readonly StoreEvent[] | "lost" {
    return this.#data.since(Number(cursor.slice(1))) ?? "lost";
  }

  /** The next item of a watch at `cursor`; `undefined` while nothing has happened. */
  next(range: KeyRange, cursor: Cursor): KvWatchItem | undefined {
    const events = this.pending(cursor);
    if (events === "lost") {
      const snapshot = listingOf(this.#data.list(range.prefix), range);
      return { type: "resync", reason: "history was lost", snapshot };
    }
    if (events.length === 0) return undefined;
    const seen = this.#data.traits.watchBatch === "one" ? events.slice(0, 1) : events;
    const changes = seen.map((event): KvChange => {
      const entry = this.#data.entryOf(event);
      return entry === undefined
        ? { type: "delete", key: event.key, missing: MISSING }
        : { type: "put", entry };
    });
    const cursorAfter = seen.at(-1)!.revision;
    return { type: "changes", changes: changesInRange(range, changes), cursor: cursorAfter };
  }

  async *watch(
    range: KeyRange,
    cursor: Cursor,
    { signal }: WatchOptions,
  ): AsyncGenerator<KvWatchItem, void, void> {
    const ending = AbortSignal.any([signal, this.#disposed.signal]);
    for (let at = cursor; !ending.aborted;) {
      const happened = Promise.withResolvers<void>();
      const wake = () => happened.resolve();
      using _registration = this.#data.onChange(wake);
      ending.addEventListener("abort", wake);
      const item = this.next(range, at);
      if (item === undefined) await happened.promise;
      ending.removeEventListener("abort", wake);
      if (item === undefined) continue;
      at = item.type === "changes" ? item.cursor : item.snapshot.cursor;
      if (item.type === "resync" || item.changes.length > 0) yield item;
    }
  }

  reconnect(): void {}

  [Symbol.asyncDispose](): Promise<void> {
    this.#disposed.abort();
    return Promise.resolve();
  }

  async #call(
    request: StoreRequest,
    signal: AbortSignal | undefined,
  ): Promise<StoreReply> {
    signal?.throwIfAborted();
    return await this.#transport(request);
  }
}

/** A network's store over {@linkcode ModelKv}, whose watch can be driven by hand. */
export class ModelStore extends NetworkStore {
  readonly #kv: ModelKv;

  constructor(prefix: string, data: StoreData, transport: Transport) {
    const kv = new ModelKv(data, transport);
    super(kv, { prefix, name: `${kv.name}, prefix ${prefix}` });
    this.#kv = kv;
  }

  /** See {@linkcode ModelKv.pending}. */
  pending(cursor: Cursor): readonly StoreEvent[] | "lost" {
    return this.#kv.pending(cursor);
  }

  /** The next item of a watch at `cursor`; `undefined` while nothing has happened. */
  next(cursor: Cursor): WatchItem | undefined {
    const item = this.#kv.next({ prefix: this.entries.prefix }, cursor);
    if (item === undefined) return undefined;
    if (item.type === "resync") return { ...item, snapshot: this.entries.snapshot(item.snapshot) };
    const changes = item.changes.map((change) => this.entries.change(change));
    return { ...item, changes: changes.filter((change) => change !== undefined) };
  }
}

function listingOf(
  { entries, revision }: { readonly entries: readonly KvEntry[]; readonly revision: number },
  range: KeyRange,
): Listing {
  return {
    entries: entries.filter(({ key }) => isInRange(range, key)),
    cursor: formatRevision(revision),
    missing: () => MISSING,
  };
}
