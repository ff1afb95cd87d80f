import type { IPv4, Prefix } from "../../ip/mod.ts";
import {
  encodeLeaseValue,
  type Lease,
  LEASE_TTL,
  type LeaseAttributes,
  leaseKey,
  type NodeRecord,
  PERMANENT,
  type StoredNodeRecord,
} from "../../lease/mod.ts";
import { Entries } from "../entries.ts";
import { ConflictError, StoreError, StoreUnavailableError } from "../errors.ts";
import type { RemoteAnswer, RemoteHttp, RemoteRequest } from "./http.ts";
import { HELD, LONGEST_POLL } from "./poll.ts";
import {
  decodeLeaseWatch,
  decodeWireLease,
  encodeReservation,
  encodeWireLease,
  formatExpiration,
  type LeaseWatchAnswer,
  type WireLease,
} from "./protocol.ts";
import { decodeAnswer, type PollResult, type RemoteSession } from "./session.ts";
import type { CallOptions, Change, ConfigText, Cursor, Snapshot } from "../store.ts";

/** How often the config is read, in milliseconds: the protocol tells of leases only. */
const CONFIG_INTERVAL = 30_000;

/**
 * Speaks with a server that knows flannel 0.7.1's protocol and no more.
 *
 * What that lacks:
 * - The server chooses subnets ({@linkcode assignLease}).
 * - There are no revisions. One is made of a lease's attributes and time of expiry, and compared before
 *   a write; what happens between the two is not seen.
 * - Each renewal is for 24 hours, by the server's will.
 * - There are no agents' records: two hosts with one public IP are not noticed. Ours are kept here.
 * - Nothing tells of a changed config: it is read every half minute.
 */
export class FlannelSession implements RemoteSession {
  readonly leaseForm = "v0.7";
  readonly #http: RemoteHttp;
  readonly #base: string;
  /** For its warnings, one a lease. */
  readonly #entries: Entries;
  readonly #agents = new Map<IPv4, StoredNodeRecord>();
  #agentRevision = 0;
  #config: ConfigText | undefined;
  #configReadAt = -Infinity;
  /** The server's clock less ours, in milliseconds. */
  #clock = 0;

  constructor(http: RemoteHttp, network: string) {
    this.#http = http;
    this.#base = `/v1/${network}`;
    this.#entries = new Entries(this.#base);
  }

  /**
   * Makes sure that there is such a server, which an answer of 404 alone does not tell.
   *
   * @throws {StoreError} when something else listens there
   */
  async probe({ signal }: CallOptions): Promise<void> {
    await this.#readConfig(signal);
  }

  async snapshot({ signal }: CallOptions = {}): Promise<Snapshot> {
    const config = await this.#readConfig(signal);
    const answer = await this.#watch("/leases", signal);
    if (!("snapshot" in answer)) throw new StoreError("the server of -remote lists no leases");
    return {
      config,
      leases: answer.snapshot.map((lease) => this.#lease(lease)),
      agents: [...this.#agents.values()],
      cursor: answer.cursor,
    };
  }

  async poll(cursor: Cursor, signal: AbortSignal): Promise<PollResult> {
    const changes: Change[] = [];
    if (performance.now() - this.#configReadAt > CONFIG_INTERVAL) {
      const before = this.#config;
      const config = await this.#readConfig(signal);
      if (!sameConfig(before, config)) changes.push({ type: "config", config });
      if (changes.length > 0) return { changes, cursor };
    }
    let answer: LeaseWatchAnswer;
    try {
      answer = await this.#watch("/leases", signal, cursor);
    } catch (error) {
      if (error instanceof PollTimeout) return { changes, cursor };
      throw error;
    }
    if ("snapshot" in answer) {
      return {
        reason: "the server does not know what has happened since",
        snapshot: {
          config: this.#config ?? await this.#readConfig(signal),
          leases: answer.snapshot.map((lease) => this.#lease(lease)),
          agents: [...this.#agents.values()],
          cursor: answer.cursor,
        },
      };
    }
    for (const { type, lease } of answer.events) {
      changes.push(
        type === "added"
          ? { type: "lease", lease: this.#lease(lease) }
          : { type: "lease-removed", subnet: lease.subnet },
      );
    }
    return { changes, cursor: answer.cursor };
  }

  async lease(subnet: Prefix, { signal }: CallOptions = {}): Promise<Lease | undefined> {
    let answer: LeaseWatchAnswer;
    try {
      answer = await this.#watch(`/leases/${leaseKey(subnet)}`, signal);
    } catch (error) {
      if (error instanceof NotFoundError) return undefined;
      throw error;
    }
    const found = "snapshot" in answer ? answer.snapshot[0] : undefined;
    return found && this.#lease(found);
  }

  /** Asks for a lease of whichever subnet the server chooses; the one that has our public IP first. */
  async assignLease(
    attributes: LeaseAttributes,
    { signal }: CallOptions = {},
  ): Promise<Lease> {
    const body = encodeLeaseValue(attributes, "v0.7");
    const answer = await this.#ask({ method: "POST", path: "/leases", body, signal });
    return this.#lease(decodeAnswer(answer.text, decodeWireLease));
  }

  /** A reservation is all that can be made of a subnet of one's choice. */
  async createLease(
    subnet: Prefix,
    attributes: LeaseAttributes,
    ttl: number,
    options: CallOptions = {},
  ): Promise<Lease> {
    const { publicIP, ...more } = attributes;
    if (ttl !== PERMANENT || Object.keys(more).length > 0) {
      throw new StoreError(
        "the server of -remote is a flannel 0.7.1, which chooses the subnet of a lease by itself",
      );
    }
    if (await this.lease(subnet, options) !== undefined) {
      throw new ConflictError(`subnet ${subnet} has a lease already`);
    }
    await this.#reserve(subnet, publicIP, options);
    return await this.#written(subnet, options);
  }

  async updateLease(
    lease: Lease,
    attributes: LeaseAttributes,
    ttl: number,
    options: CallOptions = {},
  ): Promise<Lease> {
    const { subnet } = lease;
    const stands = await this.#expect(lease, options);
    if (stands === undefined) throw new ConflictError(`the lease of ${subnet} is gone`);
    if (ttl === PERMANENT) {
      if (stands.ttl !== PERMANENT) await this.#reserve(subnet, attributes.publicIP, options);
      // Renewing would give it a lifetime; asking anew for a reservation of ours does not.
      const found = await this.assignLease(attributes, options);
      if (!found.subnet.equals(subnet)) {
        throw new ConflictError(`the lease of ${subnet} has changed`);
      }
      return found;
    }
    if (stands.ttl === PERMANENT) {
      const path = `/reservations/${leaseKey(subnet)}`;
      await this.#ask({ method: "DELETE", path, signal: options.signal });
    }
    const path = `/leases/${leaseKey(subnet)}`;
    // The server decides on the time; what is sent is what a flannel would send.
    const expiration = Date.now() + this.#clock + LEASE_TTL * 1000;
    const body = encodeWireLease({ subnet, attributes, expiration });
    const answer = await this.#ask({ method: "PUT", path, body, signal: options.signal });
    return this.#lease(decodeAnswer(answer.text, decodeWireLease));
  }

  async removeLease(lease: Lease, options: CallOptions = {}): Promise<void> {
    if (await this.#expect(lease, options) === undefined) return;
    const path = `/leases/${leaseKey(lease.subnet)}`;
    try {
      await this.#ask({ method: "DELETE", path, signal: options.signal });
    } catch (error) {
      if (!(error instanceof NotFoundError)) throw error;
    }
  }

  agent(publicIP: IPv4): Promise<StoredNodeRecord | undefined> {
    return Promise.resolve(this.#agents.get(publicIP));
  }

  putAgent(
    publicIP: IPv4,
    record: NodeRecord,
    _ttl: number,
    expected: string | undefined,
  ): Promise<StoredNodeRecord> {
    if (this.#agents.get(publicIP)?.revision !== expected) {
      return Promise.reject(new ConflictError("the record is another one"));
    }
    const agent = { publicIP, record, revision: `local-${++this.#agentRevision}` };
    this.#agents.set(publicIP, agent);
    return Promise.resolve(agent);
  }

  removeAgent({ publicIP, revision }: StoredNodeRecord): Promise<void> {
    const held = this.#agents.get(publicIP);
    if (held !== undefined && held.revision !== revision) {
      return Promise.reject(new ConflictError("the record is another one"));
    }
    this.#agents.delete(publicIP);
    return Promise.resolve();
  }

  putConfig(): Promise<void> {
    return Promise.reject(CONFIG_IS_READ_ONLY());
  }

  removeConfig(): Promise<void> {
    return Promise.reject(CONFIG_IS_READ_ONLY());
  }

  async #readConfig(signal: AbortSignal | undefined): Promise<ConfigText> {
    let config: ConfigText;
    try {
      const { text } = await this.#ask({ method: "GET", path: "/config", signal });
      config = { text: text.trimEnd() };
    } catch (error) {
      if (!(error instanceof NotFoundError)) throw error;
      config = { missing: error.message };
    }
    this.#configReadAt = performance.now();
    this.#config = config;
    return config;
  }

  async #watch(
    path: string,
    signal: AbortSignal | undefined,
    cursor?: Cursor,
  ): Promise<LeaseWatchAnswer> {
    const isPoll = cursor !== undefined;
    const request: RemoteRequest = {
      method: "GET",
      path: isPoll ? `${path}?next=${encodeURIComponent(cursor)}` : path,
      signal,
      ...(isPoll ? { timeout: LONGEST_POLL } : {}),
    };
    const started = performance.now();
    try {
      const { text } = await this.#ask(request);
      const ignore = (subnet: Prefix, why: string) =>
        this.#entries.ignore(
          `${this.#base}/leases/${leaseKey(subnet)}`,
          `holds a value that ${why}`,
        );
      return decodeAnswer(text, (text) => decodeLeaseWatch(text, ignore));
    } catch (error) {
      const isOver = isPoll && performance.now() - started >= LONGEST_POLL - HELD;
      if (isOver && error instanceof StoreUnavailableError) throw new PollTimeout();
      throw error;
    }
  }

  async #reserve(subnet: Prefix, publicIP: IPv4, { signal }: CallOptions): Promise<void> {
    const body = encodeReservation({ subnet, publicIP });
    try {
      await this.#ask({ method: "POST", path: "/reservations", body, signal });
    } catch (error) {
      if (!(error instanceof StoreError) || !error.message.includes("already taken")) throw error;
      throw new ConflictError(error.message, { cause: error });
    }
  }

  /** The lease as it stands, provided that it is the one that was read; `undefined` when it is gone. */
  async #expect(lease: Lease, options: CallOptions): Promise<Lease | undefined> {
    const stands = await this.lease(lease.subnet, options);
    if (stands !== undefined && stands.revision !== lease.revision) {
      throw new ConflictError(`the lease of ${lease.subnet} was changed`);
    }
    return stands;
  }

  async #written(subnet: Prefix, options: CallOptions): Promise<Lease> {
    const lease = await this.lease(subnet, options);
    if (lease === undefined) throw new ConflictError(`the lease of ${subnet} is gone again`);
    return lease;
  }

  #lease({ subnet, attributes, expiration }: WireLease): Lease {
    const now = Date.now() + this.#clock;
    return {
      subnet,
      attributes,
      // A second at least: 0 stands for "for ever".
      ttl: expiration === undefined
        ? PERMANENT
        : Math.max(1, Math.round((expiration - now) / 1000)),
      revision: `${formatExpiration(expiration)} ${encodeLeaseValue(attributes, "v0.7")}`,
    };
  }

  async #ask(request: RemoteRequest): Promise<RemoteAnswer> {
    const path = this.#base + request.path;
    const answer = await this.#http.request({ ...request, path });
    const { server, status, text, date } = answer;
    // The time to live is told by the server's clock, whose difference from ours must not count.
    if (date !== undefined) this.#clock = date - Date.now();
    if (status === 200) return answer;
    const words = text.trim().slice(0, 500);
    if (status === 500 && /^100: |not found/i.test(words)) throw new NotFoundError(words);
    // flannel's server has this path, and its own answers for what is not in the store.
    if (status === 404) {
      const place = server.replace(/^https?:\/\//, "");
      throw new StoreError(
        `there is no flanneld -listen at ${place}: it answers ${status}: ${words}`,
      );
    }
    const isUnavailable = status === 502 || status === 503 || status === 504 ||
      /cluster is unavailable|cannot be reached|shutting down/.test(words);
    const kind = isUnavailable ? StoreUnavailableError : StoreError;
    throw new kind(`the server of -remote answers ${status}: ${words}`);
  }
}

/** Nothing has happened while a poll stood. */
class PollTimeout extends Error {
  override readonly name = "PollTimeout";
}

/** The server's store has no such entry. */
class NotFoundError extends StoreError {
  override readonly name = "NotFoundError";
}

function CONFIG_IS_READ_ONLY(): StoreError {
  return new StoreError(
    "the server of -remote is a flannel 0.7.1, through which the network config cannot be written",
  );
}

function sameConfig(a: ConfigText | undefined, b: ConfigText): boolean {
  return a !== undefined && "text" in a
    ? "text" in b && a.text === b.text
    : a !== undefined && "missing" in b;
}
