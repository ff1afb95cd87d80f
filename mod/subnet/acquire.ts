import type { NetworkConfig } from "../config/network_config.ts";
import { formatIPv4, type Prefix } from "../ip/mod.ts";
import { type Lease, LEASE_TTL, type LeaseAttributes, PERMANENT } from "../lease/mod.ts";
import { info, warning } from "../observe/log.ts";
import { ConflictError, type Snapshot, type Store } from "../store/mod.ts";
import { isCompatible, pickSubnet } from "./pick.ts";

/** Races lost before giving up, as flannel. Each retry reads the store anew. */
const ATTEMPTS = 10;

/** Options of {@linkcode acquireLease}. */
export interface AcquireOptions {
  /** Tried next when no lease carries our public IP: the subnet this host had before. */
  readonly previous?: Prefix | undefined;
  /** What the store held a moment ago; saves the first read. */
  readonly snapshot?: Pick<Snapshot, "leases">;
  /** Looks at a lease with our public IP before it is re-used; throws to refuse it. */
  readonly inspect?: (lease: Lease) => void;
  /** @default Math.random */
  readonly random?: () => number;
  readonly signal?: AbortSignal;
}

/**
 * Leases a subnet for this host: the one that carries our public IP if it fits the config, else
 * the previous one if it is free and fits, else a random free one.
 *
 * Every write is a compare-and-swap. Of two agents after one subnet one gets a ConflictError,
 * reads the store again and picks anew.
 *
 * @throws {OutOfSubnetsError} when no subnet is free
 * @throws {AcquireError} when ten attempts in a row lost a race
 * @throws {StoreError} as the store does
 */
export async function acquireLease(
  store: Store,
  config: NetworkConfig,
  attributes: LeaseAttributes,
  options: AcquireOptions = {},
): Promise<Lease> {
  const call = options.signal ? { signal: options.signal } : {};
  let known = options.snapshot;
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const { leases } = known ?? await store.snapshot(call);
    known = undefined;
    try {
      const reused = await reuseOwn(store, config, attributes, leases, options);
      if (reused !== undefined) return reused;

      const subnet = choose(config, leases, options);
      const lease = await store.createLease(subnet, attributes, LEASE_TTL, call);
      info(`Lease acquired: ${lease.subnet}`, { subnet: lease.subnet });
      return lease;
    } catch (error) {
      if (!(error instanceof ConflictError)) throw error;
      info(`Lost a race for a subnet (${error.message}); trying again`);
    }
  }
  throw new AcquireError("Max retries reached trying to acquire a subnet");
}

/** Takes over the lease that carries our public IP; removes such leases that do not fit. */
async function reuseOwn(
  store: Store,
  config: NetworkConfig,
  attributes: LeaseAttributes,
  leases: readonly Lease[],
  options: AcquireOptions,
): Promise<Lease | undefined> {
  const call = options.signal ? { signal: options.signal } : {};
  const ip = formatIPv4(attributes.publicIP);
  const own = leases.filter((lease) => lease.attributes.publicIP === attributes.publicIP);
  for (const lease of own) {
    if (isCompatible(config, lease.subnet)) continue;
    info(
      `Found lease (${lease.subnet}) for current IP (${ip}) but not compatible with current ` +
        `config, deleting`,
      { subnet: lease.subnet },
    );
    await store.removeLease(lease, call);
  }
  const fitting = own.filter((lease) => isCompatible(config, lease.subnet));
  // Of several (an operator's copy, a reservation), what this host had last is the best guess.
  const lease = fitting.find((lease) => options.previous?.equals(lease.subnet)) ?? fitting[0];
  if (lease === undefined) return undefined;
  options.inspect?.(lease);
  info(`Found lease (${lease.subnet}) for current IP (${ip}), reusing`, { subnet: lease.subnet });
  // v3 listings do not tell a time to live, but they do tell a permanent lease.
  const ttl = lease.ttl === PERMANENT ? PERMANENT : LEASE_TTL;
  const reused = await store.updateLease(lease, attributes, ttl, call);
  info(`Lease acquired: ${reused.subnet}`, { subnet: reused.subnet });
  return reused;
}

function choose(
  config: NetworkConfig,
  leases: readonly Lease[],
  { previous, random }: AcquireOptions,
): Prefix {
  if (previous !== undefined) {
    if (!isCompatible(config, previous)) {
      warning(`Previous subnet (${previous}) is not within the current config, ignoring`);
    } else if (leases.some((lease) => lease.subnet.overlaps(previous))) {
      warning(`Previous subnet (${previous}) has been leased to another host, ignoring`);
    } else {
      info(`Found previously leased subnet (${previous}), reusing`);
      return previous;
    }
  }
  const picked = pickSubnet(config, leases.map((lease) => lease.subnet), random);
  if (picked === undefined) {
    throw new OutOfSubnetsError(
      `out of subnets: all of ${formatIPv4(config.subnetMin)} ... ` +
        `${formatIPv4(config.subnetMax)} (/${config.subnetLen} of ${config.network}) are leased`,
    );
  }
  info(
    `Picking subnet in range ${formatIPv4(config.subnetMin)} ... ${formatIPv4(config.subnetMax)}`,
  );
  return picked;
}

/** No lease could be had now; it may be possible later. */
export class AcquireError extends Error {
  override readonly name: string = "AcquireError";
}

/** Every subnet of the range is leased. */
export class OutOfSubnetsError extends AcquireError {
  override readonly name = "OutOfSubnetsError";
}
