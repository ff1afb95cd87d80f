import type { NetworkConfig } from "../../config/mod.ts";
import { formatIPv4, type IPv4, type Prefix } from "../../ip/mod.ts";
import {
  type Lease,
  LEASE_TTL,
  type LeaseAttributes,
  type NodeRecord,
  PERMANENT,
  sameAttributes,
  sameBoot,
  type StoredNodeRecord,
} from "../../lease/mod.ts";
import { error, info, warning } from "../../observe/mod.ts";
import { ConflictError, type NetworkStore, StoreError } from "../../store/mod.ts";
import {
  acquireLease,
  type AcquireOptions,
  claimIdentity,
  DuplicatePublicIPError,
  guardIdentity,
  RENEWAL_RETRY,
  renewalDelay,
} from "../../subnet/mod.ts";
import { Timer } from "../core/timer.ts";

/**
 * Milliseconds until a host that was displaced from its public IP asks for it again. Each time takes as long as the
 * other has to object, 6 s, in which the agent does nothing else.
 */
export const DISPUTE_RETRY = 30_000;

/** Options of {@linkcode LeaseKeeper}. */
export interface LeaseKeeperOptions {
  readonly store: NetworkStore;
  /** This host's node record. */
  readonly record: NodeRecord;
  /** Seconds before expiry at which to renew. */
  readonly renewMargin: number;
  /**
   * Returns whether a feature that an earlier agent of this boot advertised still applies, until
   * {@linkcode LeaseKeeper.announce}.
   *
   * @default every feature applies
   */
  readonly keepsFeature?: (feature: string) => boolean;
  /** Milliseconds between two attempts to have the public IP again. @default DISPUTE_RETRY */
  readonly disputeRetry?: number;
  /** Called when a renewal is due; the owner then calls {@linkcode LeaseKeeper.renew}. */
  readonly onDue: () => void;
  readonly signal: AbortSignal;
}

/** Times of a lease, by `performance.now()`. */
export interface LeaseTerm {
  /** The last write, or read. */
  readonly since: number;
  /** Absent for a lease that does not expire. */
  readonly renewal?: number;
  readonly expiry?: number;
}

/**
 * Keeps this host's node record and lease in the store. It makes no decisions of its own; the agent
 * passes it the changes that the watch reports.
 */
export class LeaseKeeper implements Disposable {
  readonly #options: LeaseKeeperOptions;
  readonly #renewal: Timer;
  /** The node record, with the features of the active network. */
  #record: NodeRecord;
  #identity: StoredNodeRecord | undefined;
  #former: NodeRecord | undefined;
  /** Present while another agent has this host's public IP. */
  #dispute: { readonly error: DuplicatePublicIPError; readonly until: number } | undefined;
  #lease: Lease | undefined;
  #term: LeaseTerm | undefined;
  /** The last lease held, until the next one. */
  #last: Lease | undefined;

  constructor(options: LeaseKeeperOptions) {
    this.#options = options;
    this.#record = options.record;
    this.#renewal = new Timer(options.onDue);
  }

  /** The lease held; `undefined` before the first one and after it was lost. */
  get lease(): Lease | undefined {
    return this.#lease;
  }

  /** The record by which this host holds its public IP; `undefined` before {@linkcode identify}. */
  get identity(): StoredNodeRecord | undefined {
    return this.#identity;
  }

  /** Times of the lease held, or held last. */
  get term(): LeaseTerm | undefined {
    return this.#term;
  }

  /** True when {@linkcode identify} found a record of this machine, which proves that its lease is this host's. */
  get knowsFormerLease(): boolean {
    return this.#former?.machineId === this.#options.record.machineId;
  }

  /**
   * Claims a public IP, before any lease is acquired, and gives up the one held before.
   *
   * @throws {DuplicatePublicIPError} when another live host holds it
   */
  async identify(publicIP: IPv4): Promise<void> {
    const left = this.#identity;
    if (left?.publicIP === publicIP) return;
    const { store, signal, keepsFeature = () => true } = this.#options;
    const found = await store.agent(publicIP, { signal });
    // A record of this very agent comes from an earlier call that failed half-way in the store.
    if (found?.record.instance !== this.#record.instance) this.#former = found?.record;
    // The kernel still has what an earlier agent of this boot put there.
    if (found !== undefined && sameBoot(found.record, this.#record)) {
      this.#record = withFeatures(this.#record, (found.record.features ?? []).filter(keepsFeature));
    }
    this.#identity = await claimIdentity(store, publicIP, this.#record, { signal });
    this.#dispute = undefined;
    if (left !== undefined) await this.#leave(left);
  }

  /** Returns whether this host's node record has a feature, or will have it when it is written. */
  advertises(feature: string): boolean {
    return this.#record.features?.includes(feature) ?? false;
  }

  /**
   * Advertises features to the other hosts in the node record. Writes only when they have changed.
   *
   * @throws {StoreError} as the store does; called again, it tries again
   */
  async announce(features: readonly string[]): Promise<void> {
    this.#record = withFeatures(this.#record, features);
    const advertised = this.#identity?.record.features ?? [];
    if (advertised.join() !== features.join()) await this.#renewRecord();
  }

  /** Removes a record, so that the next holder of its public IP need not check whether this host is alive. */
  async #leave(left: StoredNodeRecord): Promise<void> {
    const { store, signal } = this.#options;
    try {
      await store.removeNodeRecord(left, { signal });
    } catch (cause) {
      signal.throwIfAborted();
      if (!(cause instanceof StoreError)) throw cause;
      // Another host has claimed it already, or it expires within a day.
      info(
        `cannot remove the node record of the former public IP ${formatIPv4(left.publicIP)}: ` +
          cause.message,
      );
    }
  }

  /**
   * Reacts to a change of the record under this host's public IP. After an error it does so again at the end of
   * {@linkcode DISPUTE_RETRY}, and until then fails likewise.
   *
   * @throws {DuplicatePublicIPError} when another live host has become the holder
   */
  async guard(seen: StoredNodeRecord | undefined): Promise<void> {
    if (this.#identity === undefined) return;
    this.requireIdentity();
    const { store, signal, disputeRetry = DISPUTE_RETRY } = this.#options;
    const { publicIP } = this.#identity;
    const contest = this.#dispute !== undefined;
    try {
      this.#identity = await guardIdentity(store, seen, publicIP, this.#record, {
        contest,
        signal,
      });
      this.#dispute = undefined;
    } catch (cause) {
      if (cause instanceof DuplicatePublicIPError) {
        this.#dispute = { error: cause, until: performance.now() + disputeRetry };
      }
      throw cause;
    }
  }

  /** @throws {DuplicatePublicIPError} while another agent has this host's public IP, hence its lease */
  requireIdentity(): void {
    if (this.#dispute !== undefined && performance.now() < this.#dispute.until) {
      throw this.#dispute.error;
    }
  }

  /**
   * Acquires a lease for `config`, the former one if possible.
   *
   * @param foreignLeaseReason returns why a lease without a node record may be another host's; the backend's
   * @param given leases in the store, and subnets that this host cannot use
   */
  async acquire(
    config: NetworkConfig,
    attributes: LeaseAttributes,
    previous: Prefix | undefined,
    foreignLeaseReason: ((lease: Lease) => string | undefined) | undefined,
    given: Pick<AcquireOptions, "snapshot" | "unusable"> = {},
  ): Promise<Lease> {
    const { store, signal } = this.#options;
    this.#lease = undefined;
    this.#renewal.clear();
    const lease = await acquireLease(store, config, attributes, {
      previous,
      held: this.#last,
      signal,
      ...given,
      inspect: (found) => {
        const reason = this.#former === undefined ? foreignLeaseReason?.(found) : undefined;
        if (reason === undefined) return;
        warning(
          `lease ${found.subnet} has this host's public IP, but ${reason}; this is normal after a ` +
            `reboot; if another host runs flannel with this address, choose an interface or ` +
            `address of this host with -iface or -public-ip`,
        );
      },
    });
    this.#hold(lease, RENEWAL_RETRY);
    await this.removeSurplus(given.snapshot?.leases ?? [], attributes);
    return lease;
  }

  /**
   * Removes leases that this host wrote besides the one that it holds: a request whose reply was lost, or
   * that reached the store late, would occupy a subnet for a day. Reservations stay.
   *
   * @param leases all leases in the store, or those added to it
   * @param attributes attributes of this host's leases
   */
  async removeSurplus(leases: Iterable<Lease>, attributes: LeaseAttributes): Promise<void> {
    const { store, signal } = this.#options;
    for (const lease of leases) {
      const held = this.#lease;
      if (
        held === undefined || lease.subnet.equals(held.subnet) || lease.ttl === PERMANENT ||
        !sameAttributes(lease.attributes, attributes)
      ) continue;
      try {
        await store.removeLease(lease, { signal });
        info(`Removed lease ${lease.subnet}: this host holds ${held.subnet}`, {
          subnet: lease.subnet,
        });
      } catch (cause) {
        signal.throwIfAborted();
        if (!(cause instanceof StoreError)) throw cause;
        info(`Cannot remove lease ${lease.subnet}, which expires in a day: ${cause.message}`, {
          subnet: lease.subnet,
          error: cause.message,
        });
      }
    }
  }

  /**
   * Compares the watch's view of this host's lease with the lease held. The watch may lag behind this
   * host's own writes, so a difference is only a reason to read the store.
   *
   * @returns false when this host no longer holds the lease
   * @throws {StoreError} as the store does
   */
  async observe(seen: Lease | undefined, attributes: LeaseAttributes): Promise<boolean> {
    const held = this.#lease;
    if (held === undefined) return false;
    if (seen?.revision === held.revision) return true;
    const { store, signal } = this.#options;
    const stands = await store.lease(held.subnet, { signal });
    if (stands === undefined || !sameAttributes(stands.attributes, attributes)) {
      this.#lose();
      return false;
    }
    // Changed by another writer: an operator made it permanent, or gave it a lifetime.
    if (stands.revision !== held.revision) this.#hold(stands);
    return true;
  }

  /**
   * Renews lease and record. Logs a failure and tries again in a minute.
   *
   * @returns false when this host no longer holds the lease
   * @throws {DuplicatePublicIPError} when another live host has become the holder of the public IP
   */
  async renew(): Promise<boolean> {
    if (this.#lease === undefined) return false;
    try {
      if (!await this.#renewLease(this.#lease)) return false;
      await this.#renewRecord();
    } catch (cause) {
      this.#renewal.set(RENEWAL_RETRY * 1000);
      if (!(cause instanceof StoreError)) throw cause;
      error(`Error renewing lease (trying again in 1 min): ${cause.message}`, {
        subnet: this.#lease?.subnet,
        error: cause.message,
      });
    }
    return true;
  }

  async #renewLease(lease: Lease): Promise<boolean> {
    const { store, signal } = this.#options;
    const ttl = lease.ttl === PERMANENT ? PERMANENT : LEASE_TTL;
    try {
      const renewed = await store.updateLease(lease, lease.attributes, ttl, { signal });
      this.#hold(renewed, RENEWAL_RETRY);
    } catch (cause) {
      if (!(cause instanceof ConflictError)) throw cause;
      // Changed by another writer; do not wait for the watch, which reports it too.
      return await this.observe(undefined, lease.attributes);
    }
    const expires = new Date(Date.now() + LEASE_TTL * 1000).toISOString();
    info(`Lease renewed, new expiration: ${ttl === PERMANENT ? "none" : expires}`, {
      subnet: lease.subnet,
      ...(ttl === PERMANENT ? {} : { expires }),
    });
    return true;
  }

  async #renewRecord(): Promise<void> {
    const { store, signal } = this.#options;
    if (this.#identity === undefined) return;
    const { publicIP } = this.#identity;
    // A newcomer may have just claimed the public IP: refuse the claim instead of overwriting it.
    await this.guard(await store.agent(publicIP, { signal }));
    const expected = this.#identity?.revision;
    try {
      this.#identity = await store.putNodeRecord(publicIP, this.#record, LEASE_TTL, expected, {
        signal,
      });
    } catch (cause) {
      // Claimed between the two calls: the watch reports it.
      if (!(cause instanceof ConflictError)) throw cause;
    }
  }

  /**
   * @param least least seconds until the renewal: limits the writes to a server that grants less than the
   * margin, or whose clock is wrong
   */
  #hold(lease: Lease, least = 0): void {
    this.#lease = this.#last = lease;
    const now = performance.now();
    const due = renewalDelay(lease.ttl, this.#options.renewMargin);
    const delay = due === undefined ? undefined : Math.max(due, least);
    if (delay === undefined) this.#renewal.clear();
    else this.#renewal.set(delay * 1000);
    this.#term = {
      since: now,
      ...(delay === undefined ? {} : { renewal: now + delay * 1000 }),
      ...(lease.ttl === undefined || lease.ttl === PERMANENT
        ? {}
        : { expiry: now + lease.ttl * 1000 }),
    };
  }

  #lose(): void {
    this.#lease = undefined;
    this.#renewal.clear();
  }

  [Symbol.dispose](): void {
    this.#renewal.clear();
  }
}

/** Returns a record with these features. */
function withFeatures(record: NodeRecord, features: readonly string[]): NodeRecord {
  const { features: _former, ...bare } = record;
  return features.length === 0 ? bare : { ...bare, features };
}
