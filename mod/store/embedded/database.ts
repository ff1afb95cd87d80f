import { DatabaseSync, type StatementSync } from "node:sqlite";
import { StoreError, StoreFileError, StoreUnavailableError } from "../errors.ts";

/** "FLNL", big endian, in the file's header (https://sqlite.org/pragma.html#pragma_application_id). */
const APPLICATION_ID = 0x464c4e4c;

/** Goes up with every change of the tables that an older version could not read. */
const SCHEMA_VERSION = 1;

/** Milliseconds that a writer waits for another process's transaction. */
const BUSY_TIMEOUT = 5_000;

/**
 * Mode of the file, and of the files that SQLite adds: a config may hold a cloud's keys, and a process that can
 * open the file can block the agent's writes with a read lock (https://sqlite.org/lockingv3.html).
 */
const MODE = 0o600;

/**
 * `entry` is what there is, `history` how it came about (a value of NULL for what went), `state` one
 * row with the last revision given out and the identity of this file.
 */
const SCHEMA = `
  CREATE TABLE entry (
    key TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL,
    ttl INTEGER NOT NULL,
    written INTEGER NOT NULL,
    revision INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE history (
    revision INTEGER PRIMARY KEY,
    key TEXT NOT NULL,
    value TEXT,
    ttl INTEGER NOT NULL
  ) STRICT;
  CREATE TABLE state (generation TEXT NOT NULL, revision INTEGER NOT NULL) STRICT;
`;

/** Options of {@linkcode EmbeddedDatabase.open}. */
export interface DatabaseOptions {
  /** @default false */
  readonly readOnly?: boolean;
  /** Reads the whole file for damage: O(size). @default false */
  readonly check?: boolean;
}

/** A value of a column. */
type Column = string | number | null;

/** An open SQLite file of flanneld: its pragmas, its tables, its errors as messages for operators. */
export class EmbeddedDatabase implements Disposable {
  readonly path: string;
  /** Random identity of the file, which a file that replaces it does not have. */
  readonly generation: string;
  readonly #db: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();

  private constructor(path: string, db: DatabaseSync, generation: string) {
    this.path = path;
    this.#db = db;
    this.generation = generation;
  }

  /**
   * Opens a file; without `readOnly` one that is missing is made.
   *
   * A commit is on the disk when it returns (WAL with `synchronous=FULL`), so neither `kill -9` nor
   * a power failure takes back what was acknowledged.
   *
   * @throws {StoreFileError} when the file is missing (`readOnly`), damaged, of another program, or newer
   * @throws {StoreError} when the host refuses it
   */
  static open(path: string, { readOnly = false, check = false }: DatabaseOptions = {}) {
    let db: DatabaseSync | undefined;
    try {
      if (readOnly) Deno.statSync(path);
      db = new DatabaseSync(path, { readOnly });
      db.exec(`PRAGMA busy_timeout = ${BUSY_TIMEOUT}`);
      refuseForeign(db, path);
      if (!readOnly) {
        makePrivate(path);
        db.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL");
        createTables(db);
      }
      if (check) refuseDamaged(db, path);
      const { generation } = db.prepare("SELECT generation FROM state").get() as {
        generation: string;
      };
      return new EmbeddedDatabase(path, db, generation);
    } catch (error) {
      db?.close();
      throw translate(error, path);
    }
  }

  /** All rows of a query. */
  all<Row>(sql: string, ...values: Column[]): Row[] {
    return this.#run(() => this.#prepare(sql).all(...values) as Row[]);
  }

  /** The first row of a query. */
  get<Row>(sql: string, ...values: Column[]): Row | undefined {
    return this.#run(() => this.#prepare(sql).get(...values) as Row | undefined);
  }

  /** Runs queries of which all see the same moment. */
  reading<T>(step: () => T): T {
    return this.#within("BEGIN", step);
  }

  /**
   * Runs a transaction that is alone in writing from its start; what it throws takes everything back.
   *
   * @throws {StoreUnavailableError} when another process holds the file for too long, or the disk is
   * full
   */
  transaction<T>(step: () => T): T {
    return this.#within("BEGIN IMMEDIATE", step);
  }

  /** The last revision that was given out. */
  get revision(): number {
    return this.get<{ revision: number }>("SELECT revision FROM state")!.revision;
  }

  /** A number that another one takes the place of when another connection has committed. */
  get dataVersion(): number {
    return this.get<{ data_version: number }>("PRAGMA data_version")!.data_version;
  }

  [Symbol.dispose](): void {
    this.#statements.clear();
    this.#db.close();
  }

  #within<T>(begin: string, step: () => T): T {
    return this.#run(() => {
      this.#db.exec(begin);
      try {
        const result = step();
        this.#db.exec("COMMIT");
        return result;
      } catch (error) {
        this.#rollBack();
        throw error;
      }
    });
  }

  #rollBack(): void {
    try {
      this.#db.exec("ROLLBACK");
    } catch (error) {
      // SQLite has taken it back itself, as it does when the disk is full.
      if (!/no transaction is active/.test((error as Error).message)) throw error;
    }
  }

  #prepare(sql: string): StatementSync {
    let statement = this.#statements.get(sql);
    if (statement === undefined) {
      statement = this.#db.prepare(sql);
      this.#statements.set(sql, statement);
    }
    return statement;
  }

  #run<T>(step: () => T): T {
    try {
      return step();
    } catch (error) {
      throw translate(error, this.path);
    }
  }
}

function pragma(db: DatabaseSync, name: string): number {
  return Object.values(db.prepare(`PRAGMA ${name}`).get()!)[0] as number;
}

function isEmpty(db: DatabaseSync): boolean {
  return db.prepare("SELECT 1 FROM sqlite_schema LIMIT 1").get() === undefined;
}

/**
 * Prevents other users from opening the file, its log and its index. Changes modes by path, because closing a
 * descriptor of the file would drop this process' locks on it (fcntl(2)).
 */
function makePrivate(path: string): void {
  for (const file of [path, `${path}-wal`, `${path}-shm`]) {
    try {
      Deno.chmodSync(file, MODE);
    } catch (error) {
      // Missing, or of another user who lets this process use it.
      const isLeft = error instanceof Deno.errors.NotFound ||
        error instanceof Deno.errors.PermissionDenied;
      if (!isLeft) throw error;
    }
  }
}

function refuseForeign(db: DatabaseSync, path: string): void {
  const id = pragma(db, "application_id");
  if (id !== APPLICATION_ID && (id !== 0 || !isEmpty(db))) {
    throw new StoreFileError(
      `${path} is a database of another program: give -store embedded=PATH another path`,
    );
  }
  const version = pragma(db, "user_version");
  if (version > SCHEMA_VERSION) {
    throw new StoreFileError(
      `${path} was written by a newer flanneld (format ${version}, this one knows up to ` +
        `${SCHEMA_VERSION}): run that version, or move the file away to start with an empty one`,
    );
  }
}

function createTables(db: DatabaseSync): void {
  if (pragma(db, "user_version") === SCHEMA_VERSION) return;
  db.exec("BEGIN IMMEDIATE");
  try {
    // Another process may have been quicker.
    if (pragma(db, "user_version") === 0) {
      db.exec(SCHEMA);
      db.prepare("INSERT INTO state (generation, revision) VALUES (?, 0)").run(
        crypto.randomUUID(),
      );
      db.exec(
        `PRAGMA application_id = ${APPLICATION_ID}; PRAGMA user_version = ${SCHEMA_VERSION}`,
      );
    }
    db.exec("COMMIT");
  } catch (error) {
    db.exec("ROLLBACK");
    throw error;
  }
}

function refuseDamaged(db: DatabaseSync, path: string): void {
  const found = Object.values(db.prepare("PRAGMA quick_check(1)").get() ?? {})[0];
  if (found !== "ok") throw damaged(path, String(found));
}

function damaged(path: string, why: string, options?: ErrorOptions): StoreFileError {
  return new StoreFileError(
    `${path} is damaged (${why.replaceAll(/\s+/g, " ").trim()}): move it away and start again; ` +
      "the agents take the subnets they had before",
    options,
  );
}

/** Puts what SQLite or the runtime refuses in an operator's words; the rest is passed on. */
function translate(error: unknown, path: string): unknown {
  if (error instanceof StoreError || !(error instanceof Error)) return error;
  const options = { cause: error };
  if (error instanceof Deno.errors.NotFound) {
    return new StoreFileError(`${path} is not there: an agent with -store embedded makes it`, {
      cause: error,
    });
  }
  if ((error as { code?: unknown }).code !== "ERR_SQLITE_ERROR") return error;
  // sqlite3_errstr of https://sqlite.org/rescode.html; Deno 2.4 reports the code by these words alone.
  const { message } = error;
  if (/not a database/.test(message)) {
    return new StoreFileError(
      `${path} is not a database: give -store embedded=PATH the path of a new file, or move this ` +
        "one away",
      options,
    );
  }
  if (/malformed|no such table/.test(message)) return damaged(path, message, options);
  if (/readonly|unable to open/.test(message)) {
    return new StoreFileError(`cannot use ${path}: ${message.replace(`: ${path}`, "")}`, options);
  }
  const isPassing = /locked|busy|disk is full|disk I\/O/.test(message);
  return new (isPassing ? StoreUnavailableError : StoreError)(`${path}: ${message}`, options);
}
