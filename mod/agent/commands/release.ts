import { formatIPv4, type IPv4, type Prefix } from "../../ip/mod.ts";
import { type AgentIdentity, PERMANENT, type StoredNodeRecord } from "../../lease/mod.ts";
import { type CallOptions, ConflictError, type Store } from "../../store/mod.ts";
import type { Removal } from "./removal.ts";

/** Who asks for the release. */
export interface ReleaseRequest {
  readonly publicIP: IPv4;
  readonly host: Pick<AgentIdentity, "machineId" | "hostname">;
  /** What subnet.env said: whose lease it is where no agent record tells. */
  readonly subnet: Prefix | undefined;
}

/** What {@linkcode findLeaseAddress} looks for. */
export interface LeaseSearch {
  /** What subnet.env says. */
  readonly subnet: Prefix;
  readonly host: ReleaseRequest["host"];
  /** The addresses of this host. */
  readonly addresses: ReadonlySet<IPv4>;
}

/** The lease of the subnet in subnet.env, and whether it is this host's. */
export interface LeaseAddress {
  readonly publicIP: IPv4;
  /** False when neither this host's addresses nor a record of its own say so. */
  readonly isOwn: boolean;
}

/** What can be released, and what was found and is not this host's to release. */
export interface Release {
  readonly removals: readonly Removal[];
  readonly kept: readonly string[];
}

/**
 * Looks in the store for what this host holds: the leases with its public IP and its agent record.
 * Hosts are known by that address alone, and another may have it by mistake; so a lease is only
 * released when the record says that it is ours, or where there is none, when subnet.env does. A lease
 * without a lifetime is somebody's reservation and stays.
 *
 * @throws {StoreError} as the store does
 */
export async function findRelease(
  store: Store,
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
      kept.push(`lease ${lease.subnet} of public IP ${address}: no record says whose it is`);
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
      what: [`agent record of ${address} in ${store.name}`],
      remove: () => store.removeAgent(agent, options).catch(explain),
    });
  }
  return { removals, kept };
}

/**
 * Looks with which public IP the subnet of subnet.env is leased. The flags of a clean-up need not be
 * those of the agent, and where every host has one address in common (Vagrant's 10.0.2.15), the
 * interface that is chosen without them tells of the wrong lease.
 *
 * @returns `undefined` when the subnet is not leased, or another host's record says that it is its
 * @throws {StoreError} as the store does
 */
export async function findLeaseAddress(
  store: Store,
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
 * True when the record is this machine's, of whichever boot: an agent that was not started since the
 * last one has left its lease, too. Clones of one image differ at least by name.
 */
export function isOf({ record }: StoredNodeRecord, host: ReleaseRequest["host"]): boolean {
  return record.claims === undefined && record.machineId === host.machineId &&
    record.hostname === host.hostname;
}

function explain(error: unknown): never {
  if (!(error instanceof ConflictError)) throw error;
  throw new ConflictError(`${error.message}: somebody uses it; run this again`, { cause: error });
}
