import type { LeaseForm } from "../../mod/lease/mod.ts";
import type { Change } from "../../mod/store/mod.ts";
import type { RawEntry } from "../../mod/store/entries.ts";
import { EntryStore, type WrittenEntry } from "../../mod/store/entry_store.ts";
import type {
  CallOptions,
  Cursor,
  Snapshot,
  WatchItem,
  WatchOptions,
} from "../../mod/store/mod.ts";
import {
  entryOfReply,
  formatRevision,
  type StoreData,
  type StoreEvent,
  type StoreReply,
  type StoreRequest,
} from "./store_data.ts";

/** Reason of a missing config, for `ConfigText`. */
const MISSING = "the model holds no network config";

/** Carries a request to the data, by whatever way and time it takes. */
export type Transport = (request: StoreRequest) => Promise<StoreReply>;

/** An adapter over {@linkcode StoreData}, as the project has one for each kind of store. */
export class ModelStore extends EntryStore {
  readonly name: string;
  readonly leaseForm: LeaseForm;
  readonly #data: StoreData;
  readonly #transport: Transport;
  readonly #disposed = new AbortController();

  constructor(prefix: string, data: StoreData, transport: Transport) {
    super(prefix);
    this.name = `model of ${data.traits.name}, prefix ${prefix}`;
    this.leaseForm = data.traits.leaseForm;
    this.#data = data;
    this.#transport = transport;
  }

  async snapshot({ signal }: CallOptions = {}): Promise<Snapshot> {
    const reply = await this.#call({ type: "list", prefix: this.entries.prefix }, signal);
    if (reply.type !== "listing") throw new TypeError("the reply is no listing");
    const { entries, revision } = reply.listing;
    return this.entries.snapshot(entries, MISSING, formatRevision(revision));
  }

  reconnect(): void {}

  /** Returns the events after `cursor`: equal for two cursors without later events. */
  pending(cursor: Cursor): readonly StoreEvent[] | "lost" {
    return this.#data.since(Number(cursor.slice(1))) ?? "lost";
  }

  /** Returns the next item of a watch at `cursor`; `undefined` without an event. */
  next(cursor: Cursor): WatchItem | undefined {
    const from = Number(cursor.slice(1));
    const events = this.#data.since(from);
    if (events === undefined) {
      const { entries, revision } = this.#data.list(this.entries.prefix);
      const snapshot = this.entries.snapshot(entries, MISSING, formatRevision(revision));
      return { type: "resync", reason: "history was lost", snapshot };
    }
    if (events.length === 0) return undefined;
    const seen = this.#data.traits.watchBatch === "one" ? events.slice(0, 1) : events;
    const changes: Change[] = [];
    for (const event of seen) {
      const entry = this.#data.entryOf(event);
      const change = entry === undefined
        ? this.entries.remove(event.key, MISSING)
        : this.entries.put(entry);
      if (change !== undefined) changes.push(change);
    }
    return { type: "changes", changes, cursor: seen.at(-1)!.revision };
  }

  async *watch(cursor: Cursor, { signal }: WatchOptions): AsyncGenerator<WatchItem, void, void> {
    const ending = AbortSignal.any([signal, this.#disposed.signal]);
    for (let at = cursor; !ending.aborted;) {
      const happened = Promise.withResolvers<void>();
      const wake = () => happened.resolve();
      using _registration = this.#data.onChange(wake);
      ending.addEventListener("abort", wake);
      const item = this.next(at);
      if (item === undefined) await happened.promise;
      ending.removeEventListener("abort", wake);
      if (item === undefined) continue;
      at = item.type === "changes" ? item.cursor : item.snapshot.cursor;
      if (item.type === "resync" || item.changes.length > 0) yield item;
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#disposed.abort();
    return Promise.resolve();
  }

  protected async read(
    key: string,
    signal: AbortSignal | undefined,
  ): Promise<RawEntry | undefined> {
    return entryOfReply(await this.#call({ type: "read", key }, signal));
  }

  protected async write(
    key: string,
    value: string,
    ttl: number,
    expected: string | undefined,
    signal: AbortSignal | undefined,
  ): Promise<WrittenEntry> {
    const request = { type: "write", key, value, ttl, expected, token: {} } as const;
    const written = entryOfReply(await this.#call(request, signal))!;
    return { ttl: written.ttl ?? ttl, revision: written.revision };
  }

  protected async remove(
    key: string,
    expected: string,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    entryOfReply(await this.#call({ type: "remove", key, expected }, signal));
  }

  async #call(request: StoreRequest, signal: AbortSignal | undefined): Promise<StoreReply> {
    signal?.throwIfAborted();
    return await this.#transport(request);
  }
}
