import type { NetworkConfig } from "../config/network_config.ts";
import { formatIPv4, Prefix } from "../ip/mod.ts";
import {
  type Lease,
  LEASE_TTL,
  type LeaseAttributes,
  PERMANENT,
  sameAttributes,
} from "../lease/mod.ts";
import { info, warning } from "../observe/log/log.ts";
import {
  AccessError,
  type CallOptions,
  ConflictError,
  type NetworkStore,
  type Snapshot,
} from "../store/mod.ts";
import {
  CANDIDATES,
  isCompatible,
  pickSubnet,
  type UnusableRange,
  unusableReason,
} from "./pick.ts";
import { RACES } from "./races.ts";

/**
 * How many times as many subnets a host chooses among after each lost race. Of hosts that start together no more
 * than a hundred would get a lease in each round otherwise, and all others would read the whole store again.
 */
const GROWTH = 16;

/** Options of {@linkcode acquireLease}. */
export interface AcquireOptions {
  /** Tried next when no lease carries our public IP: the subnet this host had before. */
  readonly previous?: Prefix | undefined;
  /**
   * The lease that this agent held last. It is still this agent's if it is unchanged, although it carries
   * another public IP than the host has now.
   */
  readonly held?: Lease | undefined;
  /** A recent snapshot, which saves the first read. */
  readonly snapshot?: Pick<Snapshot, "leases">;
  /** The ranges of this host that its subnet must not overlap. @default nothing */
  readonly unusable?: readonly UnusableRange[];
  /** Checks a lease with this host's public IP before it is re-used; throws to refuse it. */
  readonly inspect?: (lease: Lease) => void;
  /** @default Math.random */
  readonly random?: () => number;
  readonly signal?: AbortSignal;
}

/**
 * Leases a subnet for this host: the one that carries our public IP, or that this agent holds, if it
 * fits the config, else the previous one if it is free and fits, else a random free one.
 *
 * Every write is a compare-and-swap. Of two agents after one subnet one gets a ConflictError,
 * reads the store again and picks again, among sixteen times as many.
 *
 * @throws {OutOfSubnetsError} when no subnet is free that this host can use
 * @throws {AcquireError} when ten attempts in a row lost a race, or the subnet that a
 * reservation gives us cannot be used on this host
 * @throws {StoreError} as the store does
 */
export async function acquireLease(
  store: NetworkStore,
  config: NetworkConfig,
  attributes: LeaseAttributes,
  options: AcquireOptions = {},
): Promise<Lease> {
  const { unusable = [] } = options;
  const call = options.signal ? { signal: options.signal } : {};
  // Subnets that another was quicker to create, or whose lease cannot be read and is in no listing.
  const contested: Prefix[] = [];
  let { held } = options;
  for (let attempt = 0; attempt < RACES; attempt++) {
    const recent = attempt === 0 ? options.snapshot : undefined;
    const { leases } = recent ?? await store.snapshot(call);
    try {
      const own = leases.filter((lease) =>
        lease.attributes.publicIP === attributes.publicIP || isSame(lease, held)
      );
      await removeMisfits(store, config, own, unusable, call);
      const lease = preferred(config, own, options.previous, unusable);
      if (lease !== undefined) return await reuse(store, lease, attributes, options);

      const others = withoutOwn(leases, own);
      const taken = [...others.map(({ subnet }) => subnet), ...contested];
      const subnet = choose(config, taken, options, CANDIDATES * GROWTH ** attempt);
      if (subnet === undefined) {
        // The given snapshot may be a moment old.
        if (recent !== undefined) continue;
        throw new OutOfSubnetsError(
          `out of subnets: all of ${rangeOf(config)} (/${config.subnetLen} of ` +
            `${config.network}) are leased${describeUnusable(config, unusable)}`,
        );
      }
      contested.push(subnet);
      const created = await store.createLease(subnet, attributes, LEASE_TTL, call);
      info(`Lease acquired: ${subnet}`, { subnet });
      return created;
    } catch (error) {
      // Without credentials a server of -remote moves no lease from the address that this host had.
      if (error instanceof AccessError && held !== undefined) {
        warning(`Cannot keep subnet ${held.subnet}: ${error.message}; leasing another one`);
        held = undefined;
        continue;
      }
      if (!(error instanceof ConflictError)) throw error;
      info(`Lost a race for a subnet (${error.message}); trying again`, { error: error.message });
    }
  }
  throw new AcquireError("Max retries reached trying to acquire a subnet");
}

/** The leases of others: O(leases), however many are our own. */
export function withoutOwn(leases: readonly Lease[], own: readonly Lease[]): Lease[] {
  const excluded = new Set(own);
  return leases.filter((lease) => !excluded.has(lease));
}

function isSame(lease: Lease, held: Lease | undefined): boolean {
  return held !== undefined && lease.subnet.equals(held.subnet) &&
    sameAttributes(lease.attributes, held.attributes);
}

/** Removes the leases that do not fit the config, or this host. */
async function removeMisfits(
  store: NetworkStore,
  config: NetworkConfig,
  own: readonly Lease[],
  unusable: readonly UnusableRange[],
  call: CallOptions,
): Promise<void> {
  for (const lease of own) {
    const { subnet, attributes, ttl } = lease;
    const isMisfit = !isCompatible(config, subnet);
    const reason = isMisfit
      ? "not compatible with current config"
      : unusableReason(subnet, unusable);
    if (reason === undefined) continue;
    if (!isMisfit && ttl === PERMANENT) {
      throw new AcquireError(
        `${subnet} is reserved for this host, which cannot use it: it ${reason}`,
      );
    }
    info(
      `Found lease (${subnet}) for current IP (${formatIPv4(attributes.publicIP)}) but ` +
        `${isMisfit ? reason : `it ${reason}`}, deleting`,
      { subnet },
    );
    await store.removeLease(lease, call);
  }
}

/**
 * The lease to be re-used: of several that fit (an operator's copy, a reservation), what this host
 * had last is the best guess.
 */
export function preferred(
  config: NetworkConfig,
  own: readonly Lease[],
  previous: Prefix | undefined,
  unusable: readonly UnusableRange[] = [],
): Lease | undefined {
  const fitting = own.filter(({ subnet }) =>
    isCompatible(config, subnet) && unusableReason(subnet, unusable) === undefined
  );
  return fitting.find(({ subnet }) => previous?.equals(subnet)) ?? fitting[0];
}

/** Writes a lease again that carries this host's public IP. */
async function reuse(
  store: NetworkStore,
  lease: Lease,
  attributes: LeaseAttributes,
  { inspect, signal }: AcquireOptions,
): Promise<Lease> {
  inspect?.(lease);
  const { subnet } = lease;
  const [was, is] = [lease.attributes.publicIP, attributes.publicIP].map(formatIPv4);
  info(
    was === is
      ? `Found lease (${subnet}) for current IP (${is}), reusing`
      : `Moving lease (${subnet}) from IP ${was} to ${is}`,
    { subnet },
  );
  // v3 listings lack lifetimes, but mark permanent leases.
  const ttl = lease.ttl === PERMANENT ? PERMANENT : LEASE_TTL;
  const reused = await store.updateLease(lease, attributes, ttl, signal ? { signal } : {});
  info(`Lease acquired: ${subnet}`, { subnet });
  return reused;
}

/** Returns a free subnet, one of so many `candidates`; `undefined` when there is none. */
export function choose(
  config: NetworkConfig,
  taken: readonly Prefix[],
  { previous, random, unusable = [] }: AcquireOptions,
  candidates = CANDIDATES,
): Prefix | undefined {
  if (previous !== undefined) {
    const reason = unusableReason(previous, unusable);
    if (!isCompatible(config, previous)) {
      warning(`Previous subnet (${previous}) is not within the current config, ignoring`, {
        subnet: previous,
      });
    } else if (taken.some((subnet) => subnet.overlaps(previous))) {
      warning(`Previous subnet (${previous}) has been leased to another host, ignoring`, {
        subnet: previous,
      });
    } else if (reason !== undefined) {
      warning(`Previous subnet (${previous}) ${reason}, ignoring`, { subnet: previous, reason });
    } else {
      info(`Found previously leased subnet (${previous}), reusing`, { subnet: previous });
      return previous;
    }
  }
  const inUse = [...taken, ...unusable.map(({ prefix }) => prefix)];
  const picked = pickSubnet(config, inUse, random, candidates);
  if (picked !== undefined) info(`Picking subnet in range ${rangeOf(config)}`);
  return picked;
}

/** For the end of a message; empty where the host is no reason. */
export function describeUnusable(
  { subnetMin, subnetMax, subnetLen }: NetworkConfig,
  unusable: readonly UnusableRange[],
): string {
  const last = new Prefix(subnetMax, subnetLen).last;
  const inRange = unusable.filter(({ prefix }) =>
    prefix.address <= last && prefix.last >= subnetMin
  );
  if (inRange.length === 0) return "";
  return `, or cannot be used on this host: one ${inRange[0]!.reason}` +
    (inRange.length > 1 ? `, and ${inRange.length - 1} more` : "");
}

function rangeOf({ subnetMin, subnetMax }: NetworkConfig): string {
  return `${formatIPv4(subnetMin)} ... ${formatIPv4(subnetMax)}`;
}

/** No lease could be had now; it may be possible later. */
export class AcquireError extends Error {
  override readonly name: string = "AcquireError";
}

/** Every subnet of the range is leased. */
export class OutOfSubnetsError extends AcquireError {
  override readonly name = "OutOfSubnetsError";
}
