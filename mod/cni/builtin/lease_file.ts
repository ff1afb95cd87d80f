import { describeHolder, findLockHolder } from "../../sys/lock_holder.ts";
import { FileLock } from "../../sys/file_lock.ts";
import { CniError, Code } from "../errors.ts";
import { reasonOf } from "../json.ts";
import { type AddressLeases, decodeLeases, encodeLeases, NO_LEASES } from "./address_leases.ts";

/** How long a call waits for others; each holds the lock for some milliseconds. */
const LOCK_TIMEOUT_MS = 60_000;
/** Waits between two attempts are random up to this, so that many calls do not meet again. */
const LOCK_RETRY_MS = 20;

const DIRECTORY_MODE = 0o755;
const FILE_MODE = 0o600;

/** The leases of a network, in a file that one call at a time has. */
export class LeaseFile implements Disposable {
  readonly #path: string;
  readonly #lock: FileLock;
  #leases: AddressLeases;

  private constructor(path: string, lock: FileLock, leases: AddressLeases) {
    this.#path = path;
    this.#lock = lock;
    this.#leases = leases;
  }

  /**
   * Waits for the lock and reads the leases.
   *
   * @param timeoutMs how long to wait
   * @throws {CniError} 5 when a file cannot be used; 11 when another call holds the lock for too long
   */
  static async open(
    directory: string,
    network: string,
    timeoutMs = LOCK_TIMEOUT_MS,
  ): Promise<LeaseFile> {
    const path = leasePath(directory, network);
    try {
      Deno.mkdirSync(directory, { recursive: true, mode: DIRECTORY_MODE });
    } catch (error) {
      throw new CniError(Code.IO_FAILURE, `cannot make ${directory}`, reasonOf(error));
    }
    const lock = await acquire(`${path}.lock`, timeoutMs);
    try {
      return new LeaseFile(path, lock, readLeases(directory, network));
    } catch (error) {
      lock[Symbol.dispose]();
      throw error;
    }
  }

  get leases(): AddressLeases {
    return this.#leases;
  }

  /**
   * Replaces the leases, in one step. Without a sync: after a power failure there are no containers either.
   *
   * @throws {CniError} 5 when the file cannot be written
   */
  save(leases: AddressLeases): void {
    if (leases === this.#leases) return;
    try {
      Deno.writeTextFileSync(`${this.#path}.new`, encodeLeases(leases), { mode: FILE_MODE });
      Deno.renameSync(`${this.#path}.new`, this.#path);
    } catch (error) {
      throw new CniError(Code.IO_FAILURE, `cannot write ${this.#path}`, reasonOf(error), {
        cause: error,
      });
    }
    this.#leases = leases;
  }

  /** Releases the lock. */
  [Symbol.dispose](): void {
    this.#lock[Symbol.dispose]();
  }
}

/**
 * Reads the leases without the lock.
 *
 * @throws {CniError} 5 when the file cannot be read
 */
export function readLeases(directory: string, network: string): AddressLeases {
  const path = leasePath(directory, network);
  let text: string;
  try {
    text = Deno.readTextFileSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return NO_LEASES;
    throw new CniError(Code.IO_FAILURE, `cannot read ${path}`, reasonOf(error), { cause: error });
  }
  return decodeLeases(path, text);
}

function leasePath(directory: string, network: string): string {
  return `${directory}/${network}.json`;
}

async function acquire(path: string, timeoutMs: number): Promise<FileLock> {
  const end = performance.now() + timeoutMs;
  for (;;) {
    const lock = FileLock.tryAcquire(path);
    if (lock !== undefined) return lock;
    if (performance.now() >= end) {
      throw new CniError(
        Code.TRY_AGAIN,
        `${path} is locked by ${describeHolder(findLockHolder(path))}`,
      );
    }
    await new Promise((done) => setTimeout(done, 1 + Math.random() * LOCK_RETRY_MS));
  }
}
