import { formatIPv4, type Prefix } from "../ip/mod.ts";
import { type Lease, LEASE_TTL, leaseKey, PERMANENT } from "../lease/mod.ts";
import { StoreError } from "../store/mod.ts";
import {
  decodeReservation,
  decodeWireAttributes,
  decodeWireLease,
  encodeLeaseWatch,
  encodeNetworkWatch,
  encodeReservations,
  encodeWireConfig,
  encodeWireLease,
  type WireReservation,
} from "../store/remote/flannel/protocol.ts";
import { acquireLease, isCompatible } from "../subnet/mod.ts";
import { untilWon } from "../subnet/races.ts";
import { findMisfit } from "../subnet/reserve.ts";
import { Deadline } from "../store/deadline.ts";
import { type Caller, requireTrust } from "./access.ts";
import type { Feed } from "./feed.ts";
import { forgotten } from "./network_state.ts";
import { configOf, type NamesFeed, type ServedNetwork } from "./networks.ts";
import { requireNoRecord, requireOwnDeletion } from "./own_entries.ts";

/**
 * Milliseconds that a poll is held at most. flannel's server holds them for ever; this one answers each, so that
 * the poll of a client that vanished does not stay.
 */
const HELD = 60 * 60 * 1000;

/** Query of a watch. */
export interface WatchRequest {
  /** Cursor of the watch; `undefined` for a listing. */
  readonly next: string | undefined;
  /** Fires when the client has gone. */
  readonly signal: AbortSignal;
}

/** Waits as {@linkcode Feed.poll} does; `undefined` for a lost history, and at the limit of the poll. */
async function poll<C, S extends { readonly cursor: string }, E>(
  feed: Feed<C, S, E>,
  next: string,
  select: (entry: E) => boolean,
  signal: AbortSignal,
): Promise<{ entries: readonly E[]; cursor: string } | undefined> {
  using held = new Deadline(HELD * (0.9 + Math.random() / 10), () => undefined, signal);
  const polled = await feed.poll(next, select, held.signal);
  signal.throwIfAborted();
  return polled === "lost" || polled.entries.length === 0 ? undefined : polled;
}

/** `GET /v1/{network}/config` */
export async function getConfig(network: ServedNetwork): Promise<string> {
  return encodeWireConfig(await configOf(network));
}

/** `POST /v1/{network}/leases`: leases a subnet that the server chooses. */
export async function postLease(
  network: ServedNetwork,
  body: string,
  caller: Caller,
): Promise<string> {
  const attributes = decodeWireAttributes(body);
  const config = await configOf(network);
  requireNoRecord(network, attributes.publicIP, caller);
  const { store, state } = network;
  const lease = await acquireLease(store, config, attributes, {
    snapshot: { leases: [...state.leases] },
  });
  return encodeWireLease(state.onWire(lease));
}

/**
 * `PUT /v1/{network}/leases/{key}`: renews a lease. As in flannel the body names it, and one that
 * ran out is had again; but not one that went to another host, nor outside of what may be leased.
 */
export async function putLease(
  network: ServedNetwork,
  body: string,
  caller: Caller,
): Promise<string> {
  const { subnet, attributes } = decodeWireLease(body);
  const { store, state } = network;
  const config = await configOf(network);
  requireNoRecord(network, attributes.publicIP, caller);
  const lease = await untilWon(async () => {
    const held = await store.lease(subnet);
    if (held !== undefined) {
      if (held.attributes.publicIP !== attributes.publicIP) throw takenBy(held);
      const ttl = held.ttl === PERMANENT ? PERMANENT : LEASE_TTL;
      return await store.updateLease(held, attributes, ttl);
    }
    if (isCompatible(config, subnet)) return await store.createLease(subnet, attributes, LEASE_TTL);
    throw new StoreError(`subnet ${subnet} may not be leased: it does not fit the network config`);
  }, StoreError);
  return encodeWireLease(state.onWire(lease));
}

/** `DELETE /v1/{network}/leases/{key}` */
export async function deleteLease(
  network: ServedNetwork,
  subnet: Prefix,
  caller: Caller,
): Promise<void> {
  const { store } = network;
  await requireOwnDeletion(network, subnet, caller);
  await untilWon(async () => {
    const lease = await store.lease(subnet);
    if (lease === undefined) throw notFound(network, subnet);
    await store.removeLease(lease);
  }, StoreError);
}

/** `GET /v1/{network}/leases[?next=C]` */
export async function watchLeases(
  { feed, state }: ServedNetwork,
  { next, signal }: WatchRequest,
): Promise<string> {
  if (next !== undefined) {
    const polled = await poll(feed, next, ({ event }) => event !== undefined, signal);
    // 0.7.1 takes an answer without events for a snapshot, an empty one for "no lease is left". At the limit
    // of the poll it receives the whole listing.
    if (polled !== undefined) {
      return encodeLeaseWatch({
        events: polled.entries.map(({ event }) => event!),
        cursor: polled.cursor,
      });
    }
  }
  // The state is that of the reading, or newer: an event that comes twice does no harm.
  const { cursor } = await feed.read();
  return encodeLeaseWatch({
    snapshot: Array.from(state.leases, (lease) => state.onWire(lease)),
    cursor,
  });
}

/** `GET /v1/{network}/leases/{key}[?next=C]` */
export async function watchLease(
  network: ServedNetwork,
  subnet: Prefix,
  { next, signal }: WatchRequest,
): Promise<string> {
  const { feed, store, state } = network;
  if (next !== undefined) {
    const polled = await poll(
      feed,
      next,
      ({ event }) => event !== undefined && event.lease.subnet.equals(subnet),
      signal,
    );
    if (polled !== undefined) {
      return encodeLeaseWatch({
        events: polled.entries.map(({ event }) => event!),
        cursor: polled.cursor,
      });
    }
  }
  await feed.ready();
  // Before the reading: an event that comes twice does no harm.
  const { cursor } = feed;
  const lease = await store.lease(subnet);
  if (lease !== undefined) {
    return encodeLeaseWatch({ snapshot: [state.onWire(lease)], cursor });
  }
  if (next === undefined) throw notFound(network, subnet);
  // After an error 0.7.1 would poll again for ever, and never request another lease.
  return encodeLeaseWatch({ events: [forgotten(subnet)], cursor });
}

/** `GET /v1/[?next=C]` */
export async function watchNetworks(
  feed: NamesFeed,
  { next, signal }: WatchRequest,
): Promise<string> {
  if (next !== undefined) {
    const polled = await poll(feed, next, () => true, signal);
    if (polled !== undefined) {
      return encodeNetworkWatch({ events: polled.entries, cursor: polled.cursor });
    }
  }
  const { snapshot, cursor } = await feed.read();
  return encodeNetworkWatch({ snapshot: snapshot.names, cursor });
}

/** `GET /v1/{network}/reservations` */
export async function getReservations({ feed, state }: ServedNetwork): Promise<string> {
  await feed.read();
  return encodeReservations(
    [...state.leases].filter(({ ttl }) => ttl === PERMANENT).map((
      { subnet, attributes: { publicIP } },
    ) => ({ subnet, publicIP })),
  );
}

/** `POST /v1/{network}/reservations` */
export async function postReservation(
  network: ServedNetwork,
  body: string,
  caller: Caller,
): Promise<void> {
  requireTrust(caller, "a reservation");
  const { subnet, publicIP }: WireReservation = decodeReservation(body);
  const { store } = network;
  const misfit = findMisfit(await configOf(network), subnet);
  if (misfit !== undefined) throw new StoreError(misfit.rule);
  await untilWon(async () => {
    const held = await store.lease(subnet);
    if (held === undefined) return await store.createLease(subnet, { publicIP }, PERMANENT);
    if (held.attributes.publicIP !== publicIP) {
      throw new StoreError("subnet: lease already taken");
    }
    return await store.updateLease(held, held.attributes, PERMANENT);
  }, StoreError);
}

/** `DELETE /v1/{network}/reservations/{key}` */
export async function deleteReservation(
  network: ServedNetwork,
  subnet: Prefix,
  caller: Caller,
): Promise<void> {
  requireTrust(caller, "a reservation");
  const { store } = network;
  await untilWon(async () => {
    const lease = await store.lease(subnet);
    if (lease === undefined) throw notFound(network, subnet);
    await store.updateLease(lease, lease.attributes, LEASE_TTL);
  }, StoreError);
}

function takenBy({ subnet, attributes }: Lease): StoreError {
  return new StoreError(
    `subnet ${subnet} is leased to another host, ${formatIPv4(attributes.publicIP)}`,
  );
}

/** In etcd's words, which is where flannel's own server has them from. */
function notFound({ name }: ServedNetwork, subnet: Prefix): StoreError {
  return new StoreError(`100: Key not found (/${name}/subnets/${leaseKey(subnet)}) [0]`);
}
