/**
 * The routes below `/store`: calls of a `Kv`, restricted to the keys of the network.
 *
 * @module
 */
import type { IPv4, Prefix } from "../ip/mod.ts";
import {
  decodeLeaseValue,
  decodeNodeRecord,
  encodeLeaseValue,
  encodeNodeRecord,
  type LeaseAttributes,
  LeaseValueError,
  type NodeRecord,
} from "../lease/mod.ts";
import { Deadline } from "../store/deadline.ts";
import type { Entries } from "../store/entries.ts";
import type { KvChange, KvEntry } from "../store/kv/kv.ts";
import type { NameChange } from "../store/network_names.ts";
import {
  decodePut,
  encodeEntry,
  encodeListing,
  encodePoll,
  HELD_POLL_MS,
  type PollAnswer,
  type WireListing,
} from "../store/remote/wire.ts";
import { WireError } from "../store/remote/wire_error.ts";
import { type Caller, requireTrust } from "./access.ts";
import type { Feed } from "./feed.ts";
import type { NamesFeed, ServedNetwork } from "./networks.ts";
import { requireOwnDeletion, requireOwnLease, requireOwnRecord } from "./own_entries.ts";

/** A key that clients may use. */
export type ServedKey =
  | { readonly type: "config"; readonly key: string }
  | { readonly type: "lease"; readonly key: string; readonly subnet: Prefix }
  | { readonly type: "agent"; readonly key: string; readonly publicIP: IPv4 };

/** Parses a key relative to the network; `undefined` when clients may not use it. */
export function parseServedKey({ store }: ServedNetwork, relative: string): ServedKey | undefined {
  const key = `${store.entries.prefix}/${relative}`;
  const what = store.entries.parseKey(key);
  switch (what?.type) {
    case "config":
    case "lease":
    case "agent":
      return { ...what, key };
    default:
      return undefined;
  }
}

/** `GET /v1/networks` */
export async function getNames(feed: NamesFeed): Promise<string> {
  return encodeListing(await namesListing(feed));
}

/** `GET /v1/networks?next=C` */
export async function pollNames(
  feed: NamesFeed,
  cursor: string,
  signal: AbortSignal,
): Promise<string> {
  return encodePoll(
    await poll(feed, cursor, signal, nameChange) ??
      { reason: LOST, listing: await namesListing(feed) },
  );
}

/** `GET store` */
export async function getStore(network: ServedNetwork): Promise<string> {
  return encodeListing(await readListing(network));
}

/** `GET store?next=C` */
export async function pollStore(
  network: ServedNetwork,
  cursor: string,
  signal: AbortSignal,
): Promise<string> {
  const { entries } = network.store;
  const changes = await poll(
    network.feed,
    cursor,
    signal,
    (change: KvChange): KvChange =>
      change.type === "put"
        ? { type: "put", entry: relativeTo(entries, change.entry) }
        : relativeTo(entries, change),
  );
  return encodePoll(changes ?? { reason: LOST, listing: await readListing(network) });
}

/** `GET store/KEY[?ttl=1]`; `undefined` when there is no entry, or it cannot be read. */
export async function getEntry(
  { store }: ServedNetwork,
  { type, key }: ServedKey,
  ttl: boolean,
): Promise<string | undefined> {
  const { kv, entries } = store;
  const entry = await kv.get(key, { ttl });
  const isReadable = entry !== undefined && entries.put(entry)?.type === type;
  return isReadable ? encodeEntry(relativeTo(entries, entry)) : undefined;
}

/** `PUT store/KEY`. Leases and node records are decoded, and written in the form of the store. */
export async function putEntry(
  network: ServedNetwork,
  served: ServedKey,
  body: string,
  caller: Caller,
): Promise<string> {
  const { store } = network;
  const put = decodePut(body);
  let { value } = put;
  switch (served.type) {
    case "config":
      requireTrust(caller, "the network config");
      break;
    case "lease": {
      const attributes = attributesOf(value);
      await requireOwnLease(network, served.subnet, { ...put, attributes }, caller);
      value = encodeLeaseValue({ ...attributes, ...markOf(caller) }, store.leaseForm);
      break;
    }
    case "agent":
      await requireOwnRecord(network, served.publicIP, put, caller);
      value = encodeNodeRecord({ ...recordOf(value), ...markOf(caller) });
  }
  const { expect, ttl } = put;
  const written = await store.kv.put(served.key, value, { expect, ttl });
  return encodeEntry(relativeTo(store.entries, written));
}

/** `DELETE store/KEY?revision=R` */
export async function deleteEntry(
  network: ServedNetwork,
  served: ServedKey,
  revision: string | null,
  caller: Caller,
): Promise<void> {
  const expect = revision === null ? "any" : { revision };
  if (served.type === "config") requireTrust(caller, "the network config");
  else if (served.type === "agent") {
    await requireOwnRecord(network, served.publicIP, { expect }, caller);
  } else if (!await requireOwnDeletion(network, served.subnet, expect, caller)) return;
  await network.store.kv.delete(served.key, { expect });
}

const LOST = "the server does not know what has happened since";

/** Waits for changes; `undefined` when the history is lost. */
async function poll<C, S extends { readonly cursor: string }, E>(
  feed: Feed<C, S, E>,
  cursor: string,
  signal: AbortSignal,
  onWire: (entry: E) => KvChange,
): Promise<PollAnswer | undefined> {
  // Shortened at random, so that clients that came together do not return together for ever.
  using held = new Deadline(HELD_POLL_MS * (0.9 + Math.random() / 10), () => undefined, signal);
  const polled = await feed.poll(cursor, held.signal);
  signal.throwIfAborted();
  return polled === "lost"
    ? undefined
    : { changes: polled.entries.map(onWire), cursor: polled.cursor };
}

async function namesListing(feed: NamesFeed): Promise<WireListing> {
  const { snapshot, cursor } = await feed.read();
  const entries = snapshot.names.map((network) => nameEntry(network));
  return { entries, cursor, missing: "", leaseForm: "v0.7" };
}

function nameChange({ type, network }: NameChange): KvChange {
  const entry = nameEntry(network);
  return type === "added"
    ? { type: "put", entry }
    : { type: "delete", key: entry.key, missing: "" };
}

function nameEntry(network: string): KvEntry {
  return { key: `${network}/config`, value: "", revision: "" };
}

async function readListing({ feed, store, state }: ServedNetwork): Promise<WireListing> {
  const { snapshot, cursor } = await feed.read();
  const { entries, leaseForm } = store;
  return {
    // Without other networks below the same prefix, and without what cannot be read. A later change of the
    // state comes with the next poll.
    entries: snapshot.entries.filter(({ key }) => state.has(key))
      .map((entry) => relativeTo(entries, entry)),
    cursor,
    missing: snapshot.missing(entries.configKey),
    leaseForm,
  };
}

function relativeTo<T extends Pick<KvEntry, "key">>({ prefix }: Entries, entry: T): T {
  return { ...entry, key: entry.key.slice(prefix.length + 1) };
}

/** Marks an entry of a client without credentials: other agents trust it less. */
function markOf({ isTrusted }: Caller): { isUnauthenticated?: true } {
  return isTrusted ? {} : { isUnauthenticated: true };
}

function attributesOf(value: string): LeaseAttributes {
  try {
    return decodeLeaseValue(value);
  } catch (cause) {
    if (!(cause instanceof LeaseValueError)) throw cause;
    throw new WireError(`the value ${cause.message}`, { cause });
  }
}

function recordOf(value: string): NodeRecord {
  const record = decodeNodeRecord(value);
  if (record === undefined) throw new WireError("the value is not a node record");
  return record;
}
