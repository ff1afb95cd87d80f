import { decodeNetworkConfig, type NetworkConfig } from "../config/mod.ts";
import { formatIPv4, type IPv4, type Prefix } from "../ip/mod.ts";
import { type Lease, LEASE_TTL, PERMANENT, type StoredNodeRecord } from "../lease/mod.ts";
import { type CallOptions, type NetworkStore, StoreError } from "../store/mod.ts";
import { untilWon } from "./races.ts";

/** A reservation that the rules forbid, or a lease that does not exist. The message is one line. */
export class ReservationError extends Error {
  override readonly name = "ReservationError";
}

/** Reason for which a network has no such subnet. */
export interface Misfit {
  /** The rule that is broken, in flannel's words. */
  readonly rule: string;
  /** The requested subnet, and the valid ones. */
  readonly found: string;
}

/** Returns why a subnet cannot be reserved in a network; `undefined` when it can. */
function findMisfit(
  { network, subnetLen }: NetworkConfig,
  subnet: Prefix,
): Misfit | undefined {
  if (subnet.length !== subnetLen) {
    return {
      rule: "reservation subnet has mask incompatible with network config",
      found: `${subnet} where subnets are /${subnetLen}`,
    };
  }
  if (!network.overlaps(subnet)) {
    return {
      rule: "reservation subnet is outside of flannel network",
      found: `${subnet} is not in ${network}`,
    };
  }
  return undefined;
}

/**
 * Keeps a subnet for the host with a public IP: as a lease that does not run out, held or not. A lease
 * that the host has already only loses its lifetime; what the host publishes in it stays.
 *
 * @throws {ReservationError} when the subnet does not fit the network's config, overlaps a lease of
 * another host, or ten races in a row were lost
 * @throws {ConfigError} when the network's config cannot be used
 * @throws {StoreError} when there is no config, and as the store does
 */
export async function reserveSubnet(
  store: NetworkStore,
  subnet: Prefix,
  publicIP: IPv4,
  options: CallOptions = {},
): Promise<Lease> {
  return await untilWon(async () => {
    const { config, leases } = await store.snapshot(options);
    if ("missing" in config) {
      throw new StoreError(`there is no network config in the ${store.name}: ${config.missing}`);
    }
    const misfit = findMisfit(await decodeNetworkConfig(config.text), subnet);
    if (misfit !== undefined) throw new ReservationError(`${misfit.rule}: ${misfit.found}`);
    const held = await store.lease(subnet, options);
    const taken = [...leases, ...(held === undefined ? [] : [held])].find((lease) =>
      lease.subnet.overlaps(subnet) && lease.attributes.publicIP !== publicIP
    );
    if (taken !== undefined) {
      throw new ReservationError(
        `subnet: lease already taken: ${taken.subnet} belongs to ` +
          formatIPv4(taken.attributes.publicIP),
      );
    }
    return held === undefined
      ? await store.createLease(subnet, { publicIP }, PERMANENT, options)
      : await store.updateLease(held, held.attributes, PERMANENT, options);
  }, ReservationError);
}

/**
 * Gives a reservation up: its lease runs out in 24 hours, unless the host that has it renews it, as
 * flannel does.
 *
 * @throws {ReservationError} when nothing is reserved under the subnet, or ten races in a row were lost
 * @throws {StoreError} as the store does
 */
export async function releaseReservation(
  store: NetworkStore,
  subnet: Prefix,
  options: CallOptions = {},
): Promise<Lease> {
  return await untilWon(async () => {
    const lease = await store.lease(subnet, options);
    if (lease === undefined) throw new ReservationError(`${subnet} is not reserved, nor leased`);
    if (lease.ttl !== PERMANENT) {
      throw new ReservationError(
        `${subnet} is not reserved: it is leased to ${formatIPv4(lease.attributes.publicIP)}; ` +
          "flanneld lease release ends the lease",
      );
    }
    return await store.updateLease(lease, lease.attributes, LEASE_TTL, options);
  }, ReservationError);
}

/**
 * Removes a lease, reserved or not: its subnet is free at once. The agent of a host that runs leases a subnet again,
 * the same one unless another host was faster.
 *
 * @throws {ReservationError} when the subnet is not leased, or ten races in a row were lost
 * @throws {StoreError} as the store does
 */
export async function releaseLease(
  store: NetworkStore,
  subnet: Prefix,
  options: CallOptions = {},
): Promise<Lease> {
  return await untilWon(async () => {
    const lease = await store.lease(subnet, options);
    if (lease === undefined) throw new ReservationError(`${subnet} is not leased`);
    await store.removeLease(lease, options);
    return lease;
  }, ReservationError);
}

/** The entries of a host in the store. */
export interface HostEntries {
  /** Leases that expire; reservations stay with the host's public IP. */
  readonly leases: readonly Lease[];
  readonly reserved: readonly Lease[];
  readonly record: StoredNodeRecord | undefined;
}

/**
 * Finds the leases and the node record of the host with a public IP.
 *
 * @throws {ReservationError} when it has no lease that expires, and no node record
 * @throws {StoreError} as the store does
 */
export async function findHostEntries(
  store: NetworkStore,
  publicIP: IPv4,
  options: CallOptions = {},
): Promise<HostEntries> {
  const { leases, agents } = await store.snapshot(options);
  const own: Lease[] = [];
  for (const lease of leases) {
    // Listings of etcd v3 have no lifetimes.
    if (lease.attributes.publicIP !== publicIP) continue;
    own.push(lease.ttl === undefined ? await store.lease(lease.subnet, options) ?? lease : lease);
  }
  const [reserved, expiring] = [true, false].map((isReserved) =>
    own.filter(({ ttl }) => (ttl === PERMANENT) === isReserved)
  ) as [Lease[], Lease[]];
  const record = agents.find((agent) => agent.publicIP === publicIP);
  if (expiring.length === 0 && record === undefined) {
    throw new ReservationError(
      `${formatIPv4(publicIP)} has no node record, and no lease that expires`,
    );
  }
  return { leases: expiring, reserved, record };
}

/**
 * Removes the leases and the node record of a host that is gone.
 *
 * @throws {ConflictError} when the host, or another writer, has changed one since it was read: the host lives
 * @throws {StoreError} as the store does
 */
export async function evictHost(
  store: NetworkStore,
  { leases, record }: HostEntries,
  options: CallOptions = {},
): Promise<void> {
  for (const lease of leases) await store.removeLease(lease, options);
  if (record !== undefined) await store.removeNodeRecord(record, options);
}
