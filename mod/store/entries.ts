import { formatIPv4, type IPv4, parseIPv4, type Prefix } from "../ip/mod.ts";
import {
  decodeLeaseValue,
  decodeNodeRecord,
  type Lease,
  leaseKey,
  LeaseValueError,
  parseLeaseKey,
  type StoredNodeRecord,
} from "../lease/mod.ts";
import { warning } from "../observe/log/log.ts";
import type { Cursor, KvChange, KvEntry, Listing } from "./kv/kv.ts";

/** The network configuration as stored: its text, or why there is none. */
export type ConfigText =
  | { readonly text: string }
  /** The store's own message, for example `100: Key not found (/atomic.io) [97]`. */
  | { readonly missing: string };

/** All that the store holds of one network at one moment. */
export interface Snapshot {
  readonly config: ConfigText;
  readonly leases: readonly Lease[];
  readonly agents: readonly StoredNodeRecord[];
  /** A watch from here misses nothing that this snapshot lacks. */
  readonly cursor: Cursor;
}

/** One event of a network. */
export type Change =
  | { readonly type: "config"; readonly config: ConfigText }
  /** Created, or its attributes or lifetime changed. */
  | { readonly type: "lease"; readonly lease: Lease }
  | { readonly type: "lease-removed"; readonly subnet: Prefix }
  | { readonly type: "agent"; readonly agent: StoredNodeRecord }
  | { readonly type: "agent-removed"; readonly publicIP: IPv4 };

/** The meaning of a key below a network's prefix. */
export type EntryKey =
  | { readonly type: "config" }
  | { readonly type: "lease"; readonly subnet: Prefix }
  | { readonly type: "agent"; readonly publicIP: IPv4 }
  /**
   * `subnets` or `agents` itself: a directory in etcd v2, a key without meaning in etcd v3.
   */
  | { readonly type: "directory" }
  /** In another directory below the prefix: of another network, or somebody else's. */
  | { readonly type: "elsewhere" }
  /** No key of flanneld. `scope` is the part of the key that one warning covers. */
  | { readonly type: "foreign"; readonly scope: string };

const CONFIG: EntryKey = { type: "config" };
const DIRECTORY: EntryKey = { type: "directory" };
const ELSEWHERE: EntryKey = { type: "elsewhere" };

/** Options of {@linkcode Entries}. */
export interface EntriesOptions {
  /** Takes each warning. @default the log */
  readonly warn?: (message: string) => void;
  /** Keys remembered as warned of; one last warning reports that there are more. @default 1000 */
  readonly maxWarned?: number;
}

/**
 * Keys and values of one network, the same in every store. An entry that cannot be read counts as
 * absent, in a snapshot as in a watch, and is warned of once until it can be read.
 *
 * @example
 * ```ts
 * import { Entries } from "./entries.ts";
 * const entries = new Entries("/flannel/network");
 * const change = entries.put({
 *   key: "/flannel/network/subnets/10.20.93.0-24",
 *   value: '{"PublicIP":"192.0.2.7"}',
 *   revision: "12",
 * });
 * console.assert(change?.type === "lease");
 * ```
 */
export class Entries {
  /** Directory of the network, without a trailing slash. */
  readonly prefix: string;
  readonly #warn: (message: string) => void;
  readonly #maxWarned: number;
  readonly #warned = new Set<string>();

  constructor(prefix: string, options: EntriesOptions = {}) {
    this.prefix = prefix;
    this.#warn = options.warn ?? warning;
    this.#maxWarned = options.maxWarned ?? 1000;
  }

  /** Key of the network configuration. */
  get configKey(): string {
    return `${this.prefix}/config`;
  }

  /** Directory of the leases: `/flannel/network/subnets` */
  get leasesDirectory(): string {
    return `${this.prefix}/subnets`;
  }

  /** Key of a lease: `/flannel/network/subnets/10.20.93.0-24` */
  leaseKey(subnet: Prefix): string {
    return `${this.leasesDirectory}/${leaseKey(subnet)}`;
  }

  /** Key of a node record: `/flannel/network/agents/192.0.2.7` */
  agentKey(publicIP: IPv4): string {
    return `${this.prefix}/agents/${formatIPv4(publicIP)}`;
  }

  /**
   * Parses a key.
   *
   * @param key the whole key
   * @returns `undefined` for a key that is not below the prefix
   */
  parseKey(key: string): EntryKey | undefined {
    const start = this.prefix.length + 1;
    if (key.length <= start || key[start - 1] !== "/" || !key.startsWith(this.prefix)) {
      return undefined;
    }
    const slash = key.indexOf("/", start);
    const first = slash < 0 ? key.slice(start) : key.slice(start, slash);
    if (first === "subnets" || first === "agents") {
      if (slash < 0) return DIRECTORY;
      const name = key.slice(slash + 1);
      if (first === "subnets") {
        const subnet = parseLeaseKey(name);
        if (subnet !== undefined) return { type: "lease", subnet };
      } else {
        const publicIP = parseIPv4(name);
        if (publicIP !== undefined) return { type: "agent", publicIP };
      }
      const end = key.indexOf("/", slash + 1);
      return { type: "foreign", scope: end < 0 ? key : key.slice(0, end) };
    }
    if (first === "config" && slash < 0) return CONFIG;
    // Other networks may be kept below the same prefix, each in a directory of its own (-networks).
    // A config with something in it is none, though.
    if (slash >= 0 && first !== "config") return ELSEWHERE;
    return { type: "foreign", scope: slash < 0 ? key : key.slice(0, slash) };
  }

  /**
   * Reads an entry that was written.
   *
   * @returns the change it makes; one whose value cannot be read is gone (`lease-removed`,
   * `agent-removed`); `undefined` for an entry that is none of this network
   */
  put(entry: KvEntry): Change | undefined {
    const what = this.parseKey(entry.key);
    if (entry.problem !== undefined) {
      const isNamed = what?.type === "config" || what?.type === "lease" || what?.type === "agent";
      if (isNamed) this.ignore(entry.key, entry.problem);
      return undefined;
    }
    switch (what?.type) {
      case "config":
        return { type: "config", config: { text: entry.value } };
      case "lease": {
        const lease = this.lease(what.subnet, entry);
        return lease === undefined
          ? { type: "lease-removed", subnet: what.subnet }
          : { type: "lease", lease };
      }
      case "agent": {
        const agent = this.agent(what.publicIP, entry);
        return agent === undefined
          ? { type: "agent-removed", publicIP: what.publicIP }
          : { type: "agent", agent };
      }
      case "foreign":
        this.ignore(what.scope, "is not a key of this network");
        return undefined;
      default:
        return undefined;
    }
  }

  /**
   * Reads an entry that was deleted or ran out.
   *
   * @param missing the store's message for a missing config
   * @returns the change it makes; `undefined` for an entry that is none of this network
   */
  remove(key: string, missing: string): Change | undefined {
    const what = this.parseKey(key);
    this.#warned.delete(key);
    switch (what?.type) {
      case "config":
        return { type: "config", config: { missing } };
      case "lease":
        return { type: "lease-removed", subnet: what.subnet };
      case "agent":
        return { type: "agent-removed", publicIP: what.publicIP };
      default:
        return undefined;
    }
  }

  /** Decodes one change; `undefined` when it changes nothing of the network. */
  change(change: KvChange): Change | undefined {
    return change.type === "put" ? this.put(change.entry) : this.remove(change.key, change.missing);
  }

  /** Decodes a listing; warns of the entries that cannot be read. */
  snapshot({ entries, cursor, missing }: Listing): Snapshot {
    const leases: Lease[] = [];
    const agents: StoredNodeRecord[] = [];
    let config: ConfigText | undefined;
    for (const entry of entries) {
      const change = this.put(entry);
      if (change?.type === "lease") leases.push(change.lease);
      else if (change?.type === "agent") agents.push(change.agent);
      else if (change?.type === "config") config = change.config;
    }
    return { config: config ?? { missing: missing(this.configKey) }, leases, agents, cursor };
  }

  /** Reads the value of a lease; `undefined`, with a warning, when it cannot be read. */
  lease(subnet: Prefix, entry: KvEntry): Lease | undefined {
    if (entry.problem !== undefined) {
      this.ignore(entry.key, entry.problem);
      return undefined;
    }
    let attributes;
    try {
      attributes = decodeLeaseValue(entry.value);
    } catch (error) {
      if (!(error instanceof LeaseValueError)) throw error;
      this.ignore(entry.key, `holds a value that ${error.message}`);
      return undefined;
    }
    if (this.#warned.size > 0) this.#warned.delete(entry.key);
    const { ttl, revision } = entry;
    return ttl === undefined
      ? { subnet, attributes, revision }
      : { subnet, attributes, ttl, revision };
  }

  /** Reads the value of a node record; `undefined`, with a warning, when it cannot be read. */
  agent(publicIP: IPv4, entry: KvEntry): StoredNodeRecord | undefined {
    const record = decodeNodeRecord(entry.value);
    if (record === undefined) {
      this.ignore(entry.key, entry.problem ?? "holds a value that is not a node record");
      return undefined;
    }
    if (this.#warned.size > 0) this.#warned.delete(entry.key);
    return { publicIP, record, revision: entry.revision };
  }

  /** Warns of an entry that is left out, unless that was done already. */
  ignore(key: string, why: string): void {
    if (this.#warned.has(key) || this.#warned.size > this.#maxWarned) return;
    this.#warned.add(key);
    this.#warn(
      this.#warned.size > this.#maxWarned
        ? `Ignoring more than ${this.#maxWarned} entries below ${this.prefix}; the others go unnamed`
        : `Ignoring ${key}: it ${why}`,
    );
  }
}
