import { formatIPv4, type IPv4, type Prefix } from "../../ip/mod.ts";
import { type AgentIdentity, PERMANENT, type StoredNodeRecord } from "../../lease/mod.ts";
import { type CallOptions, ConflictError, type NetworkStore } from "../../store/mod.ts";
import type { Removal } from "./removal.ts";

/** The host whose lease is released. */
export interface ReleaseRequest {
  readonly publicIP: IPv4;
  readonly host: Pick<AgentIdentity, "machineId" | "hostname">;
  /** The subnet in subnet.env, which identifies the host's lease when there is no node record. */
  readonly subnet: Prefix | undefined;
}

/** Input of {@linkcode findLeaseAddress}. */
export interface LeaseSearch {
  /** The subnet in subnet.env. */
  readonly subnet: Prefix;
  readonly host: ReleaseRequest["host"];
  /** The addresses of this host. */
  readonly addresses: ReadonlySet<IPv4>;
}

/** The lease of the subnet in subnet.env, and whether it is this host's. */
export interface LeaseAddress {
  readonly publicIP: IPv4;
  /** False when neither an address of this host nor its own node record confirms it. */
  readonly isOwn: boolean;
}

/** Steps that release leases and records, and descriptions of those that stay. */
export interface Release {
  readonly removals: readonly Removal[];
  readonly kept: readonly string[];
}

/**
 * Finds this host's entries in the store: the leases with its public IP and its node record. Another host
 * may have the same address by mistake, so a lease is released only when the node record, or without one
 * subnet.env, proves that this host holds it. A lease without a lifetime is a reservation and stays.
 *
 * @throws {StoreError} as the store does
 */
export async function findRelease(
  store: NetworkStore,
  { publicIP, host, subnet }: ReleaseRequest,
  options: CallOptions,
): Promise<Release> {
  const address = formatIPv4(publicIP);
  const { leases, agents } = await store.snapshot(options);
  const agent = agents.find((agent) => agent.publicIP === publicIP);
  const own = leases.filter(({ attributes }) => attributes.publicIP === publicIP);
  if (agent !== undefined && !isOf(agent, host)) {
    const { hostname } = agent.record.claims ?? agent.record;
    return {
      removals: [],
      kept: [`lease of public IP ${address}: its holder is host ${hostname}`],
    };
  }
  const removals: Removal[] = [];
  const kept: string[] = [];
  for (const lease of own) {
    if (agent === undefined && !(subnet !== undefined && lease.subnet.equals(subnet))) {
      kept.push(`lease ${lease.subnet} of public IP ${address}: no node record names its host`);
    } else if (lease.ttl === PERMANENT) {
      kept.push(`lease ${lease.subnet}: it has no lifetime, so it is a reservation`);
    } else {
      removals.push({
        what: [`lease ${lease.subnet} in ${store.name}`],
        remove: () => store.removeLease(lease, options).catch(explain),
      });
    }
  }
  if (agent !== undefined) {
    removals.push({
      what: [`node record of ${address} in ${store.name}`],
      remove: () => store.removeNodeRecord(agent, options).catch(explain),
    });
  }
  return { removals, kept };
}

/**
 * Finds the public IP in the lease of subnet.env's subnet. A clean-up may run without the agent's flags, and
 * where every host has one address in common (Vagrant's 10.0.2.15), the interface chosen without flags leads
 * to the wrong lease.
 *
 * @returns `undefined` when the subnet is not leased, or another host's node record holds it
 * @throws {StoreError} as the store does
 */
export async function findLeaseAddress(
  store: NetworkStore,
  { subnet, host, addresses }: LeaseSearch,
  options: CallOptions,
): Promise<LeaseAddress | undefined> {
  const { leases, agents } = await store.snapshot(options);
  const lease = leases.find((lease) => lease.subnet.equals(subnet));
  if (lease === undefined) return undefined;
  const { publicIP } = lease.attributes;
  const agent = agents.find((agent) => agent.publicIP === publicIP);
  if (agent === undefined) return { publicIP, isOwn: addresses.has(publicIP) };
  return isOf(agent, host) ? { publicIP, isOwn: true } : undefined;
}

/**
 * Returns whether a record is this machine's, of this boot or an earlier one, whose agent may have left its
 * lease. Clones of one image differ at least by hostname.
 */
export function isOf({ record }: StoredNodeRecord, host: ReleaseRequest["host"]): boolean {
  return record.claims === undefined && record.machineId === host.machineId &&
    record.hostname === host.hostname;
}

function explain(error: unknown): never {
  if (!(error instanceof ConflictError)) throw error;
  throw new ConflictError(`${error.message}; run this again`, {
    cause: error,
  });
}
