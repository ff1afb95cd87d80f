/**
 * Lab of the shared cases of `store_cases.ts`: a store's server, and helpers.
 *
 * @module
 */
import { type IPv4, parseIPv4, Prefix } from "../../ip/mod.ts";
import type { Lease, LeaseAttributes, NodeRecord } from "../../lease/mod.ts";
import type { EtcdOptions } from "../etcd/options.ts";
import type { NetworkStore } from "../network_store.ts";

/** Requirements of a case for the store's server. */
export interface StoreLabOptions {
  /** Serves TLS; with `client`, only to holders of a client certificate. @default no TLS */
  readonly tls?: "server" | "client";
  /** Password of the user `root`; with it nobody gets in without. @default no authentication */
  readonly password?: string;
}

/** A real store of one kind, and what an operator or another agent does to it. */
export interface StoreLab extends AsyncDisposable {
  /** Client URL of its server, or path of its file. */
  readonly endpoint: string;
  /** Paths of the PEM files, where there is TLS. */
  readonly certificates?: {
    readonly ca: string;
    readonly otherCa: string;
    readonly client: { readonly cert: string; readonly key: string };
  };
  /** Opens the store as an agent does, at `endpoint` by default. */
  open(prefix: string, overrides?: Partial<EtcdOptions>): Promise<NetworkStore>;
  /** Opens the store over a connection that can lose replies; by default over a proxy. */
  openLossy?(prefix: string): Promise<LossyStore>;
  /** Writes a value; its lifetime is in seconds. @param ttl default none */
  put(key: string, value: string, ttl?: number): Promise<void>;
  /** Reads a value as it is stored. */
  get(key: string): Promise<string | undefined>;
  delete(key: string): Promise<void>;
  /** Deletes a directory with all that is in it (v3: every key below `key + "/"`, and `key`). */
  deleteTree(key: string): Promise<void>;
  /** Makes an entry that holds no value: a directory (v2), an empty value (v3). */
  makeEmpty(key: string): Promise<void>;
  /** Makes the store forget how it came to what it holds (v2: 1000 events; v3: compaction). */
  loseHistory(): Promise<void>;
}

/** A store behind a server, which can be down and out of reach. */
export interface ServedLab extends StoreLab {
  stop(): Promise<void>;
  resume(): Promise<void>;
  /** Stops the server, removes its data, and starts it again. */
  wipe(): Promise<void>;
  /** Freezes the server (`true`) or lets it go on: connections stand, nothing answers. */
  freeze(on: boolean): Promise<void>;
}

/** A store over a connection that can lose replies. */
export interface LossyStore extends AsyncDisposable {
  readonly store: NetworkStore;
  /** Carries requests, and loses the replies to those that are under way now or begin later (`true`). */
  loseReplies(on: boolean): void;
}

/** Input of a case. */
export interface CaseContext<L extends StoreLab = StoreLab> {
  readonly lab: L;
  /** A prefix of the case's own. */
  readonly prefix: string;
  /** Log lines since the case began. */
  readonly log: readonly string[];
}

/** A behaviour, named by a sentence that starts with the symbol, and what shows it. */
export type StoreCase<L extends StoreLab = StoreLab> = readonly [
  name: string,
  run: (context: CaseContext<L>) => Promise<void>,
];

/** Parses an address of a test. */
export function ip(text: string): IPv4 {
  const address = parseIPv4(text);
  if (address === undefined) throw new TypeError(`${text} is not an IPv4 address`);
  return address;
}

/** Parses a subnet of a test. */
export function net(text: string): Prefix {
  const prefix = Prefix.parse(text);
  if (prefix === undefined) throw new TypeError(`${text} is not a prefix`);
  return prefix;
}

/** Attributes of a vxlan host. */
export function vxlan(publicIP: string, mac = "c6:8a:3d:5f:56:2e"): LeaseAttributes {
  return { publicIP: ip(publicIP), backendType: "vxlan", backendData: { VtepMAC: mac } };
}

/** A record of an agent that runs. */
export function record(hostname: string, instance = "1"): NodeRecord {
  return {
    machineId: "b08dfa6083e7567a1921a715000001fb",
    hostname,
    bootId: "f7e8b6a9-57d1-4f0e-9c33-5a8f7d1ee3a1",
    version: "0.1.0",
    started: "2026-01-02T03:04:05Z",
    instance,
  };
}

/** A lease without its ttl, which runs down between two readings, and which listings may lack. */
export function withoutTtl(lease: Lease | undefined): Omit<Lease, "ttl"> | undefined {
  if (lease === undefined) return undefined;
  const { subnet, attributes, revision } = lease;
  return { subnet, attributes, revision };
}
