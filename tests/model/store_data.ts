import type { LeaseForm } from "../../mod/lease/mod.ts";
import { PERMANENT } from "../../mod/lease/mod.ts";
import { ConflictError } from "../../mod/store/errors.ts";
import { type Expect, isExpected, type KvEntry } from "../../mod/store/kv/kv.ts";

/** Traits of a kind of store that the lease protocol can notice. */
export interface StoreTraits {
  readonly name: "etcd v2" | "etcd v3" | "embedded" | "remote";
  readonly leaseForm: LeaseForm;
  /** A watch yields one event at a time (v2 long polls), or everything that has happened. */
  readonly watchBatch: "one" | "all";
  /** A listing has the lifetimes of entries; permanent entries are always marked. */
  readonly listsTtl: boolean;
  /**
   * Outcome of a write whose reply was lost and which the adapter repeats at another endpoint: it
   * loses against itself, or is recognized. `undefined` where calls cannot lose their reply.
   */
  readonly repeatedWrite: "conflicts" | "recognized" | undefined;
  /** Lifetimes end by the server's wall clock: a clock that jumps ahead ends all of them. */
  readonly expiresByWallClock: boolean;
}

/** The kinds of stores that the project has. */
export const STORES: readonly StoreTraits[] = [
  {
    ...{ name: "etcd v2", leaseForm: "v0.7", watchBatch: "one", listsTtl: true },
    ...{ repeatedWrite: "conflicts", expiresByWallClock: true },
  },
  {
    ...{ name: "etcd v3", leaseForm: "v0.20", watchBatch: "all", listsTtl: false },
    ...{ repeatedWrite: "recognized", expiresByWallClock: false },
  },
  {
    ...{ name: "embedded", leaseForm: "v0.7", watchBatch: "all", listsTtl: true },
    ...{ repeatedWrite: undefined, expiresByWallClock: false },
  },
  {
    ...{ name: "remote", leaseForm: "v0.7", watchBatch: "all", listsTtl: true },
    ...{ repeatedWrite: "conflicts", expiresByWallClock: false },
  },
];

/** One request, which takes effect at one moment. */
export type StoreRequest =
  | { readonly type: "read"; readonly key: string }
  | { readonly type: "list"; readonly prefix: string }
  | {
    readonly type: "write";
    readonly key: string;
    readonly value: string;
    /** Seconds, or `PERMANENT`. */
    readonly ttl: number;
    readonly expect: Expect;
    /** Identifies this write, like v3's lease id. */
    readonly token: object;
  }
  | { readonly type: "remove"; readonly key: string; readonly expect: Expect };

/** Content of a listing. */
export interface StoreListing {
  readonly entries: readonly KvEntry[];
  readonly revision: number;
}

/** Reply to a request. */
export type StoreReply =
  | { readonly type: "entry"; readonly entry: KvEntry | undefined }
  | { readonly type: "listing"; readonly listing: StoreListing }
  | { readonly type: "conflict"; readonly message: string };

/** An entry as it is held. */
export interface HeldEntry {
  readonly value: string;
  readonly revision: string;
  readonly ttl: number;
  /** Writer of the entry, only for the model. */
  readonly writer: string;
  readonly token: object;
  /** Milliseconds on the data's clock. */
  readonly written: number;
}

/** Something that happened to a key; without an entry it was removed, or ran out. */
export interface StoreEvent {
  readonly revision: string;
  readonly key: string;
  readonly entry: HeldEntry | undefined;
}

/** Formats a revision like the model's adapters; {@linkcode World} recognizes them in texts. */
export function formatRevision(revision: number): string {
  return `r${revision}`;
}

/**
 * The specification of a store: entries with a revision each from one counter, compare-and-swap on
 * them, lifetimes, a history of which the beginning is forgotten. Everything happens at one moment.
 */
export class StoreData {
  readonly traits: StoreTraits;
  readonly entries = new Map<string, HeldEntry>();
  /** All that has happened, whatever a watch can still see of it. */
  readonly history: StoreEvent[] = [];
  readonly #now: () => number;
  readonly #changed = new Set<() => void>();
  #revision = 0;
  /** Events up to this revision are forgotten. */
  #forgotten = 0;

  /** @param now milliseconds; by default lifetimes do not run down by themselves */
  constructor(traits: StoreTraits, now: () => number = () => 0) {
    this.traits = traits;
    this.#now = now;
  }

  get revision(): number {
    return this.#revision;
  }

  /** Carries a request out. @param writer who it is from */
  apply(request: StoreRequest, writer: string): StoreReply {
    switch (request.type) {
      case "read":
        return { type: "entry", entry: this.read(request.key) };
      case "list":
        return { type: "listing", listing: this.list(request.prefix) };
      case "write": {
        const { key, value, ttl, expect, token } = request;
        const held = this.entries.get(key);
        if (held?.token === token && this.#recognizes(ttl)) {
          return { type: "entry", entry: this.read(key) };
        }
        if (!isExpected(held, expect)) {
          const what = held === undefined ? "is missing" : "was written by somebody else";
          return { type: "conflict", message: `${key} ${what}` };
        }
        this.put(key, value, ttl, writer, token);
        return { type: "entry", entry: this.read(key) };
      }
      case "remove": {
        const held = this.entries.get(request.key);
        if (held !== undefined && !isExpected(held, request.expect)) {
          return { type: "conflict", message: `${request.key} was changed` };
        }
        this.delete(request.key);
        return { type: "entry", entry: undefined };
      }
    }
  }

  /** Writes whatever is there. */
  put(key: string, value: string, ttl: number, writer: string, token: object = {}): void {
    const revision = formatRevision(++this.#revision);
    const entry = { value, revision, ttl, writer, token, written: this.#now() };
    this.entries.set(key, entry);
    this.#happened({ revision, key, entry });
  }

  /** Removes or expires an entry, if it exists. */
  delete(key: string): void {
    if (this.entries.delete(key)) {
      this.#happened({ revision: formatRevision(++this.#revision), key, entry: undefined });
    }
  }

  /** Lets entries run out whose time is over. */
  expire(): void {
    for (const [key, { ttl, written }] of this.entries) {
      if (ttl !== PERMANENT && written + ttl * 1_000 <= this.#now()) this.delete(key);
    }
  }

  /** Lets no watch begin any more before now. */
  forgetHistory(): void {
    this.#forgotten = this.#revision;
  }

  /** Returns the events after a revision; `undefined` when they are no longer available. */
  since(revision: number): readonly StoreEvent[] | undefined {
    if (revision < this.#forgotten) return undefined;
    // One event a revision, the first one is 1.
    return this.history.slice(revision);
  }

  read(key: string): KvEntry | undefined {
    const held = this.entries.get(key);
    return held && this.#raw(key, held, true);
  }

  list(prefix: string): StoreListing {
    const entries = [];
    for (const [key, held] of this.entries) {
      if (key.startsWith(`${prefix}/`)) entries.push(this.#raw(key, held, this.traits.listsTtl));
    }
    return { entries, revision: this.#revision };
  }

  /** An entry as a watch hands it over. */
  entryOf({ key, entry }: StoreEvent): KvEntry | undefined {
    return entry && this.#raw(key, entry, this.traits.listsTtl);
  }

  /** Calls back at each change, until it is disposed of. */
  onChange(call: () => void): Disposable {
    this.#changed.add(call);
    return { [Symbol.dispose]: () => void this.#changed.delete(call) };
  }

  #recognizes(ttl: number): boolean {
    return this.traits.repeatedWrite === "recognized" && ttl !== PERMANENT;
  }

  #raw(key: string, { value, revision, ttl, written }: HeldEntry, hasTtl: boolean): KvEntry {
    const entry = { key, value, revision };
    if (ttl === PERMANENT) return { ...entry, ttl };
    if (!hasTtl) return entry;
    return { ...entry, ttl: Math.max(1, Math.ceil(ttl - (this.#now() - written) / 1_000)) };
  }

  #happened(event: StoreEvent): void {
    this.history.push(event);
    for (const call of this.#changed) call();
  }
}

/** Reads a reply as an adapter does. @throws {ConflictError} */
export function entryOfReply(reply: StoreReply): KvEntry | undefined {
  if (reply.type === "conflict") throw new ConflictError(reply.message);
  if (reply.type === "listing") throw new TypeError("a listing is no entry");
  return reply.entry;
}
