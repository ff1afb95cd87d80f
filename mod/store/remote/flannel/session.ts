import type { Prefix } from "../../../ip/mod.ts";
import {
  decodeLeaseValue,
  encodeLeaseValue,
  LEASE_TTL,
  type LeaseAttributes,
  leaseKey,
  PERMANENT,
} from "../../../lease/mod.ts";
import { Entries } from "../../entries.ts";
import { ConflictError, StoreError } from "../../errors.ts";
import {
  type CallOptions,
  type Cursor,
  type DeleteOptions,
  type Expect,
  isExpected,
  type KeyRange,
  type KvChange,
  type KvEntry,
  type Listing,
  type PutOptions,
} from "../../kv/kv.ts";
import type { RemoteAnswer, RemoteHttp, RemoteRequest } from "../http.ts";
import { decodeAnswer, type PollResult, type RemoteSession } from "../session.ts";
import {
  decodeLeaseWatch,
  decodeWireLease,
  encodeReservation,
  encodeWireLease,
  formatExpiration,
  type LeaseWatchAnswer,
  type WireLease,
} from "./protocol.ts";
import { askFlannel, NotFoundError, pollFlannel } from "./requests.ts";

/** Milliseconds between two readings of the config: the protocol has events of leases only. */
const CONFIG_INTERVAL_MS = 30_000;

/**
 * The entries of one network as flannel 0.7.1's protocol has them.
 *
 * It lacks the following:
 * - The client cannot choose a subnet ({@linkcode assign}); only reservations name a subnet.
 * - There are no revisions. One is made of a lease's attributes and time of expiry, and compared before
 *   a write; a change between the two is not noticed.
 * - Each renewal is for 24 hours, by the server's choice.
 * - There are no node records: two hosts with one public IP are not noticed. This session keeps those of
 *   its own host in memory.
 * - There is no event of a changed config: the session reads it every half minute. It cannot write it.
 */
export class FlannelSession implements RemoteSession {
  readonly leaseForm = "v0.7";
  readonly #http: RemoteHttp;
  readonly #base: string;
  /** The keys of the network, and the warnings, one a lease. */
  readonly #entries: Entries;
  /** Node records, by key. */
  readonly #records = new Map<string, KvEntry>();
  #lastRevision = 0;
  #config: { readonly entry: KvEntry | undefined; readonly missing: string } | undefined;
  #configReadAt = -Infinity;
  /** The server's clock less this host's, in milliseconds. */
  #clockOffset = 0;

  constructor(http: RemoteHttp, network: string) {
    this.#http = http;
    this.#base = `/v1/${network}`;
    this.#entries = new Entries(`/${network}`);
  }

  /**
   * Checks that there is such a server, which an answer of 404 alone does not prove.
   *
   * @throws {StoreError} when something else listens there
   */
  async probe({ signal }: CallOptions): Promise<void> {
    await this.#readConfig(signal);
  }

  async get(key: string, { signal }: CallOptions = {}): Promise<KvEntry | undefined> {
    const what = this.#entries.parseKey(key);
    switch (what?.type) {
      case "config":
        return (await this.#readConfig(signal)).entry;
      case "lease":
        return await this.#lease(what.subnet, signal);
      default:
        return this.#records.get(key);
    }
  }

  async list(_range: KeyRange, { signal }: CallOptions = {}): Promise<Listing> {
    await this.#readConfig(signal);
    const { text } = await this.#ask({ method: "GET", path: "/leases", signal });
    const answer = this.#decodeWatch(text);
    if ("snapshot" in answer) return this.#listing(answer);
    throw new StoreError("the server of -remote lists no leases");
  }

  async poll(cursor: Cursor, signal: AbortSignal): Promise<PollResult> {
    if (performance.now() - this.#configReadAt > CONFIG_INTERVAL_MS) {
      const before = this.#config?.entry?.value;
      const { entry, missing } = await this.#readConfig(signal);
      if (entry?.value !== before) {
        const change: KvChange = entry === undefined
          ? { type: "delete", key: this.#entries.configKey, missing }
          : { type: "put", entry };
        return { changes: [change], cursor };
      }
    }
    const polled = await pollFlannel(this.#http, `${this.#base}/leases`, cursor, signal);
    if (polled === undefined) return { changes: [], cursor };
    this.#observeClock(polled);
    const answer = this.#decodeWatch(polled.text);
    if ("snapshot" in answer) {
      if (this.#config === undefined) await this.#readConfig(signal);
      const reason = "the server does not know what has happened since";
      return { reason, snapshot: this.#listing(answer) };
    }
    return {
      cursor: answer.cursor,
      changes: answer.events.map(({ type, lease }) =>
        type === "added"
          ? { type: "put", entry: this.#leaseEntry(lease) }
          : { type: "delete", key: this.#entries.leaseKey(lease.subnet), missing: "" }
      ),
    };
  }

  /** Leases a subnet that the server chooses: that of the public IP in the value, or else a free one. */
  async assign(
    _directory: string,
    value: string,
    { signal }: CallOptions = {},
  ): Promise<KvEntry> {
    const { text } = await this.#ask({ method: "POST", path: "/leases", body: value, signal });
    return this.#leaseEntry(decodeAnswer(text, decodeWireLease));
  }

  async put(key: string, value: string, options: PutOptions): Promise<KvEntry> {
    const what = this.#entries.parseKey(key);
    switch (what?.type) {
      case "config":
        throw configIsReadOnly();
      case "lease":
        return await this.#putLease(what.subnet, decodeLeaseValue(value), options);
      default: {
        this.#requireExpected(key, this.#records.get(key), options.expect);
        const revision = `local-${++this.#lastRevision}`;
        const entry = { key, value, revision, ttl: options.ttl };
        this.#records.set(key, entry);
        return entry;
      }
    }
  }

  async delete(key: string, { expect, signal }: DeleteOptions): Promise<void> {
    const what = this.#entries.parseKey(key);
    if (what?.type === "config") throw configIsReadOnly();
    const held = what?.type === "lease"
      ? await this.#lease(what.subnet, signal)
      : this.#records.get(key);
    if (held === undefined) return;
    this.#requireExpected(key, held, expect);
    if (what?.type !== "lease") {
      this.#records.delete(key);
      return;
    }
    try {
      await this.#ask({ method: "DELETE", path: `/leases/${leaseKey(what.subnet)}`, signal });
    } catch (error) {
      if (!(error instanceof NotFoundError)) throw error;
    }
  }

  async #putLease(
    subnet: Prefix,
    attributes: LeaseAttributes,
    { expect, ttl, signal }: PutOptions,
  ): Promise<KvEntry> {
    const { publicIP, ...more } = attributes;
    if (expect === "absent" && (ttl !== PERMANENT || Object.keys(more).length > 0)) {
      throw new StoreError(
        "the server of -remote is a flannel 0.7.1, which chooses the subnet of a lease by itself",
      );
    }
    const key = this.#entries.leaseKey(subnet);
    const held = await this.#lease(subnet, signal);
    this.#requireExpected(key, held, expect);
    const body = encodeReservation({ subnet, publicIP });
    if (held === undefined) {
      await this.#reserve(body, signal);
      const reserved = await this.#lease(subnet, signal);
      if (reserved === undefined) throw new ConflictError(`${key} is gone again`);
      return reserved;
    }
    if (ttl === PERMANENT) {
      if (held.ttl !== PERMANENT) await this.#reserve(body, signal);
      // A renewal would give it a lifetime; requesting the reservation again does not.
      const value = encodeLeaseValue(attributes, "v0.7");
      const found = await this.assign(this.#entries.leasesDirectory, value, { signal });
      if (found.key !== key) throw new ConflictError(`${key} has changed`);
      return found;
    }
    if (held.ttl === PERMANENT) {
      await this.#ask({ method: "DELETE", path: `/reservations/${leaseKey(subnet)}`, signal });
    }
    // The server decides on the time; this is the one that a flannel would send.
    const expiration = Date.now() + this.#clockOffset + LEASE_TTL * 1000;
    const { text } = await this.#ask({
      method: "PUT",
      path: `/leases/${leaseKey(subnet)}`,
      body: encodeWireLease({ subnet, attributes, expiration }),
      signal,
    });
    return this.#leaseEntry(decodeAnswer(text, decodeWireLease));
  }

  async #reserve(body: string, signal: AbortSignal | undefined): Promise<void> {
    try {
      await this.#ask({ method: "POST", path: "/reservations", body, signal });
    } catch (error) {
      if (!(error instanceof StoreError) || !error.message.includes("already taken")) throw error;
      throw new ConflictError(error.message, { cause: error });
    }
  }

  /** @throws {ConflictError} when an entry is not as expected */
  #requireExpected(key: string, held: KvEntry | undefined, expect: Expect): void {
    if (isExpected(held, expect)) return;
    throw new ConflictError(
      expect === "absent"
        ? `${key} exists already`
        : `${key} was ${held === undefined ? "removed" : "changed"} since it was read`,
    );
  }

  async #lease(subnet: Prefix, signal: AbortSignal | undefined): Promise<KvEntry | undefined> {
    try {
      const path = `/leases/${leaseKey(subnet)}`;
      const answer = this.#decodeWatch((await this.#ask({ method: "GET", path, signal })).text);
      const found = "snapshot" in answer ? answer.snapshot[0] : undefined;
      return found && this.#leaseEntry(found);
    } catch (error) {
      if (error instanceof NotFoundError) return undefined;
      throw error;
    }
  }

  async #readConfig(signal: AbortSignal | undefined) {
    const key = this.#entries.configKey;
    let entry: KvEntry | undefined;
    let missing = "";
    try {
      const { text } = await this.#ask({ method: "GET", path: "/config", signal });
      const value = text.trimEnd();
      entry = { key, value, revision: value, ttl: PERMANENT };
    } catch (error) {
      if (!(error instanceof NotFoundError)) throw error;
      missing = error.message;
    }
    this.#configReadAt = performance.now();
    return this.#config = { entry, missing };
  }

  #decodeWatch(text: string): LeaseWatchAnswer {
    const ignore = (subnet: Prefix, why: string) =>
      this.#entries.ignore(`${this.#base}/leases/${leaseKey(subnet)}`, `holds a value that ${why}`);
    return decodeAnswer(text, (text) => decodeLeaseWatch(text, ignore));
  }

  #listing({ snapshot, cursor }: Extract<LeaseWatchAnswer, { snapshot: unknown }>): Listing {
    const { entry: config, missing = "" } = this.#config ?? {};
    return {
      entries: [
        ...(config === undefined ? [] : [config]),
        ...snapshot.map((lease) => this.#leaseEntry(lease)),
        ...this.#records.values(),
      ],
      cursor,
      missing: () => missing,
    };
  }

  #leaseEntry({ subnet, attributes, expiration }: WireLease): KvEntry {
    const now = Date.now() + this.#clockOffset;
    const value = encodeLeaseValue(attributes, "v0.7");
    return {
      key: this.#entries.leaseKey(subnet),
      value,
      revision: `${formatExpiration(expiration)} ${value}`,
      // A second at least: 0 stands for PERMANENT.
      ttl: expiration === undefined
        ? PERMANENT
        : Math.max(1, Math.round((expiration - now) / 1000)),
    };
  }

  async #ask(request: RemoteRequest): Promise<RemoteAnswer> {
    const answer = await askFlannel(this.#http, { ...request, path: this.#base + request.path });
    this.#observeClock(answer);
    return answer;
  }

  /** Expirations are by the server's clock; its difference from this host's must not count. */
  #observeClock({ date }: RemoteAnswer): void {
    if (date !== undefined) this.#clockOffset = date - Date.now();
  }
}

function configIsReadOnly(): StoreError {
  return new StoreError(
    "the server of -remote is a flannel 0.7.1, through which the network config cannot be written",
  );
}
