import { PERMANENT } from "../../lease/mod.ts";
import { warning } from "../../observe/log/log.ts";
import { EmbeddedDatabase } from "./database.ts";
import { ExpiryQueue } from "./expiry_queue.ts";
import { ConflictError, StoreError } from "../errors.ts";
import { type Expect, isExpected, type KvChange, type KvEntry } from "../kv/kv.ts";

/** The message for a missing entry; the only key that it is shown for is the network config. */
export const MISSING = "the file holds no network config";

/** Revisions that are kept for watches that come back, at least. */
const HISTORY = 10_000;

/** Milliseconds between two checks for writes of another process. */
const POLL = 500;

/** Revisions between two cuts of the history, so that not each write pays for one. */
const TRIM_EVERY = 512;

/** One event of a key. */
export type FileEvent = KvChange & { readonly revision: number };

/** All entries below a directory at one moment. */
export interface FileListing {
  readonly entries: readonly KvEntry[];
  readonly revision: number;
}

/** Options of {@linkcode EmbeddedFile}. */
export interface EmbeddedFileOptions {
  /** Never writes; the file must be there. @default false */
  readonly readOnly?: boolean;
  /**
   * Entries run out in this process, and in no other: the caller sees to it that there is one such
   * process for a file. @default false
   */
  readonly owner?: boolean;
  /** Revisions kept, at least. @default 10000 */
  readonly history?: number;
  /** Milliseconds on a clock that is never set. @default performance.now */
  readonly now?: () => number;
}

interface EntryRow {
  readonly key: string;
  readonly value: string;
  readonly ttl: number;
  readonly written: number;
  readonly revision: number;
}

interface HistoryRow {
  readonly revision: number;
  readonly key: string;
  readonly value: string | null;
  readonly ttl: number;
}

/**
 * Keys and values with lifetimes and a history, in one file: what etcd is to the other stores.
 *
 * Calls are synchronous and take about as long as the disk takes to acknowledge a write. Several
 * connections, in one process or in several, may write; each sees what the others did within half a
 * second and misses nothing of it.
 *
 * A lifetime is counted by the owner alone, on a clock that nobody sets, from the moment it learned
 * of the entry: when the owner starts, each entry has its whole lifetime before it, as in an etcd
 * that has a new leader. So neither a clock that jumps nor a night in which the owner was down takes
 * the leases of hosts that had nobody to renew them with.
 */
export class EmbeddedFile implements Disposable {
  readonly #db: EmbeddedDatabase;
  readonly #expiry: ExpiryQueue | undefined;
  readonly #history: number;
  readonly #waiting = new Set<() => void>();
  readonly #poll: ReturnType<typeof setInterval>;
  /** The last revision that the expiry queue and the watches have seen. */
  #known: number;
  #dataVersion: number;
  #isClosed = false;
  #hasTrouble = false;

  /**
   * @throws {StoreFileError} when the file is no store of flanneld
   * @throws {StoreError} when the host refuses it
   */
  constructor(path: string, options: EmbeddedFileOptions = {}) {
    const { readOnly = false, owner = false, history = HISTORY } = options;
    this.#history = history;
    this.#db = EmbeddedDatabase.open(path, { readOnly, check: owner });
    this.#dataVersion = this.#db.dataVersion;
    this.#known = this.#db.revision;
    if (owner) {
      this.#expiry = new ExpiryQueue({
        expire: () => this.#expire(),
        attempt: (step) => this.#attempt(step),
        ...(options.now === undefined ? {} : { now: options.now }),
      });
      this.#startLifetimes();
    }
    this.#poll = setInterval(() => this.#attempt(() => this.lookForOthers()), POLL);
    Deno.unrefTimer(this.#poll);
  }

  get path(): string {
    return this.#db.path;
  }

  /** Identity of this file, which another file at its path does not have. */
  get generation(): string {
    return this.#db.generation;
  }

  /** True when it was closed: then nothing more happens. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** The last revision that this process knows of. */
  get revision(): number {
    return this.#known;
  }

  /** Reads one entry. */
  read(key: string): KvEntry | undefined {
    this.#expiry?.check();
    const row = this.#db.get<EntryRow>("SELECT * FROM entry WHERE key = ?", key);
    return row && this.#entry(row);
  }

  /** Reads all entries below a directory. @param directory without a trailing slash */
  list(directory: string): FileListing {
    this.#expiry?.check();
    // Nobody else's commit comes between two readings of one transaction.
    return this.#db.reading(() => ({
      revision: this.#db.revision,
      entries: this.#db.all<EntryRow>(
        "SELECT * FROM entry WHERE key >= ? AND key < ? ORDER BY key",
        ...below(directory),
      ).map((row) => this.#entry(row)),
    }));
  }

  /**
   * Writes an entry.
   *
   * @param ttl whole seconds, or `PERMANENT`
   * @throws {ConflictError} when the entry is not as expected
   */
  put(key: string, value: string, ttl: number, expect: Expect = "any"): KvEntry {
    this.#expiry?.check();
    const revision = this.#write(() => {
      this.#require(key, expect);
      const revision = this.#record(key, value, ttl);
      this.#db.get(
        "INSERT INTO entry (key, value, ttl, written, revision) VALUES (?, ?, ?, ?, ?) " +
          "ON CONFLICT (key) DO UPDATE SET value = excluded.value, ttl = excluded.ttl, " +
          "written = excluded.written, revision = excluded.revision",
        ...[key, value, ttl, Date.now(), revision],
      );
      return revision;
    });
    return { key, value, ttl, revision: String(revision) };
  }

  /**
   * Removes an entry; gone already is fine.
   *
   * @throws {ConflictError} when it is there and not as expected
   */
  delete(key: string, expect: Expect = "any"): void {
    this.#expiry?.check();
    this.#write(() => {
      if (this.#row(key) === undefined) return;
      this.#require(key, expect);
      this.#remove(key);
    });
  }

  /** Removes an entry that is a directory's name, and all entries below it. */
  deleteTree(directory: string): void {
    this.#write(() => {
      const rows = this.#db.all<EntryRow>(
        "SELECT * FROM entry WHERE key = ? OR (key >= ? AND key < ?)",
        ...[directory, ...below(directory)],
      );
      for (const { key } of rows) this.#remove(key);
    });
  }

  /**
   * Returns the events below a directory after a revision.
   *
   * @returns the events, and the revision that they lead to; `undefined` when the history does not
   * reach back that far, or the revision was never given out
   */
  since(directory: string, revision: number): {
    readonly events: readonly FileEvent[];
    readonly revision: number;
  } | undefined {
    return this.#db.reading(() => {
      const last = this.#db.revision;
      const first = this.#db.get<{ first: number | null }>(
        "SELECT MIN(revision) AS first FROM history",
      )!.first ?? last + 1;
      if (revision > last || revision + 1 < first) return undefined;
      const rows = revision === last ? [] : this.#db.all<HistoryRow>(
        "SELECT * FROM history WHERE revision > ? AND key >= ? AND key < ? ORDER BY revision",
        ...[revision, ...below(directory)],
      );
      return { revision: last, events: rows.map(event) };
    });
  }

  /** Checks whether another process has written, as a timer does twice a second. */
  lookForOthers(): void {
    const version = this.#db.dataVersion;
    if (version === this.#dataVersion) return;
    this.#dataVersion = version;
    this.#applyNews();
  }

  /** Calls back once, at the next change by anybody or when the file is closed. */
  onChange(callback: () => void): Disposable {
    this.#waiting.add(callback);
    return { [Symbol.dispose]: () => void this.#waiting.delete(callback) };
  }

  /** Closes the file; wakes the watches that wait for a change. */
  [Symbol.dispose](): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearInterval(this.#poll);
    this.#expiry?.[Symbol.dispose]();
    this.#db[Symbol.dispose]();
    this.#wake();
  }

  #write<T>(step: () => T): T {
    const result = this.#db.transaction(step);
    this.#applyNews();
    return result;
  }

  #row(key: string): EntryRow | undefined {
    return this.#db.get<EntryRow>("SELECT * FROM entry WHERE key = ?", key);
  }

  #require(key: string, expect: Expect): void {
    const row = this.#row(key);
    const found = row && { revision: String(row.revision) };
    if (isExpected(found, expect)) return;
    throw new ConflictError(
      expect === "absent"
        ? `${key} exists already`
        : `${key} was ${row === undefined ? "removed" : "changed"} since it was read`,
    );
  }

  #remove(key: string): void {
    this.#db.get("DELETE FROM entry WHERE key = ?", key);
    this.#record(key, null, PERMANENT);
  }

  /** Gives out a revision for what happens to a key. */
  #record(key: string, value: string | null, ttl: number): number {
    const { revision } = this.#db.get<{ revision: number }>(
      "UPDATE state SET revision = revision + 1 RETURNING revision",
    )!;
    this.#db.get(
      "INSERT INTO history (revision, key, value, ttl) VALUES (?, ?, ?, ?)",
      ...[revision, key, value, ttl],
    );
    if (revision % TRIM_EVERY === 0) {
      this.#db.get("DELETE FROM history WHERE revision <= ?", revision - this.#history);
    }
    return revision;
  }

  #entry({ key, value, ttl, written, revision }: EntryRow): KvEntry {
    return { key, value, revision: String(revision), ttl: this.#left(key, ttl, written) };
  }

  /** Whole seconds that an entry has left, at least one while it is there. */
  #left(key: string, ttl: number, written: number): number {
    if (ttl === PERMANENT) return PERMANENT;
    // Beside the owner only the time of writing is known, and it may be off by a step of the clock.
    const left = this.#expiry?.left(key) ?? written + ttl * 1_000 - Date.now();
    return Math.min(ttl, Math.max(1, Math.ceil(left / 1_000)));
  }

  #startLifetimes(): void {
    this.#db.transaction(() => {
      this.#db.get("UPDATE entry SET written = ? WHERE ttl <> 0", Date.now());
    });
    this.#dataVersion = this.#db.dataVersion;
    this.#takeAllLifetimes();
  }

  #takeAllLifetimes(): void {
    this.#expiry?.replace(this.#db.all<EntryRow>("SELECT * FROM entry WHERE ttl <> 0"));
  }

  /** Removes what has run out, unless somebody has renewed it in the meantime. */
  #expire(): void {
    const due = this.#expiry!.due();
    this.#write(() => {
      for (const { key, revision } of due) {
        if (this.#row(key)?.revision === revision) this.#remove(key);
      }
    });
    this.#expiry!.forget(due);
  }

  /** Applies the writes of all processes to the expiry queue, and wakes the watches. */
  #applyNews(): void {
    const news = this.since("", this.#known);
    if (news?.revision === this.#known) return;
    if (news === undefined) {
      this.#known = this.#db.revision;
      this.#takeAllLifetimes();
    } else {
      this.#known = news.revision;
      for (const event of news.events) this.#expiry?.take(event);
    }
    this.#wake();
  }

  /** Runs a step of a timer, which has no caller to throw at and tries again later. */
  #attempt(step: () => void): boolean {
    try {
      step();
      this.#hasTrouble = false;
      return true;
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      if (!this.#hasTrouble) warning(error.message);
      this.#hasTrouble = true;
      return false;
    }
  }

  #wake(): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const callback of waiting) callback();
  }
}

/** Bounds of the keys below a directory: `0` follows `/`. */
function below(directory: string): [string, string] {
  return [`${directory}/`, `${directory}0`];
}

function event({ revision, key, value, ttl }: HistoryRow): FileEvent {
  return value === null
    ? { type: "delete", revision, key, missing: MISSING }
    : { type: "put", revision, entry: { key, value, ttl, revision: String(revision) } };
}
