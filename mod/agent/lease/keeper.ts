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
import { ConflictError, type Store, StoreError } from "../../store/mod.ts";
import {
  acquireLease,
  type AcquireOptions,
  claimIdentity,
  guardIdentity,
  RENEWAL_RETRY,
  renewalDelay,
} from "../../subnet/mod.ts";
import { Timer } from "../core/timer.ts";

/** What a {@linkcode LeaseKeeper} is given. */
export interface LeaseKeeperOptions {
  readonly store: Store;
  /** Who we are. */
  readonly record: NodeRecord;
  /** Seconds before expiry at which to renew. */
  readonly renewMargin: number;
  /**
   * Returns whether what an earlier agent of this boot has advertised still holds, until
   * {@linkcode LeaseKeeper.announce}.
   *
   * @default everything does
   */
  readonly keepsFeature?: (feature: string) => boolean;
  /** Called when a renewal is due; the owner then calls {@linkcode LeaseKeeper.renew}. */
  readonly onDue: () => void;
  readonly signal: AbortSignal;
}

/** Times of a lease, as performance.now() tells them. */
export interface LeaseTerm {
  /** When it was last written, or read. */
  readonly since: number;
  /** Absent for one that does not run out. */
  readonly renewal?: number;
  readonly expiry?: number;
}

/**
 * Holds this host's place in the store: its identity record and its lease. It decides nothing by
 * itself; the agent tells it what the watch reports.
 */
export class LeaseKeeper implements Disposable {
  readonly #options: LeaseKeeperOptions;
  readonly #renewal: Timer;
  /** Who we are, with what our data path takes. */
  #record: NodeRecord;
  #identity: StoredNodeRecord | undefined;
  #former: NodeRecord | undefined;
  #lease: Lease | undefined;
  #term: LeaseTerm | undefined;
  /** The last lease that was held, until there is another. */
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

  /** Of the lease held, or held last. */
  get term(): LeaseTerm | undefined {
    return this.#term;
  }

  /** True when the record we found was this machine's own: its lease is known to be ours. */
  get knowsFormerLease(): boolean {
    return this.#former?.machineId === this.#options.record.machineId;
  }

  /**
   * Becomes the holder of a public IP, before anything is leased; and gives up the one held before.
   *
   * @throws {DuplicatePublicIPError} when another live host holds it
   */
  async identify(publicIP: IPv4): Promise<void> {
    const left = this.#identity;
    if (left?.publicIP === publicIP) return;
    const { store, signal, keepsFeature = () => true } = this.#options;
    const found = await store.agent(publicIP, { signal });
    // A record of our own is what an earlier call left that the store failed half-way.
    if (found?.record.instance !== this.#record.instance) this.#former = found?.record;
    // What an earlier agent of this boot put into the kernel is there, until we say otherwise.
    if (found !== undefined && sameBoot(found.record, this.#record)) {
      this.#record = withFeatures(this.#record, (found.record.features ?? []).filter(keepsFeature));
    }
    this.#identity = await claimIdentity(store, publicIP, this.#record, { signal });
    if (left !== undefined) await this.#leave(left);
  }

  /** Returns whether this host's node record has a feature, or will have it when it is written. */
  advertises(feature: string): boolean {
    return this.#record.features?.includes(feature) ?? false;
  }

  /**
   * Tells the other hosts what our data path takes. What they know already costs nothing.
   *
   * @throws {StoreError} as the store does; called again, it tries again
   */
  async announce(features: readonly string[]): Promise<void> {
    this.#record = withFeatures(this.#record, features);
    const told = this.#identity?.record.features ?? [];
    if (told.join() !== features.join()) await this.#renewRecord();
  }

  /** Gives a record up, so that whoever has its public IP next need not ask for us. */
  async #leave(left: StoredNodeRecord): Promise<void> {
    const { store, signal } = this.#options;
    try {
      await store.removeAgent(left, { signal });
    } catch (cause) {
      signal.throwIfAborted();
      if (!(cause instanceof StoreError)) throw cause;
      // Someone has claimed it already, or it lapses within a day.
      info(
        `The record of our former public IP ${formatIPv4(left.publicIP)} stays: ${cause.message}`,
      );
    }
  }

  /**
   * Acts on a change of the record under our public IP.
   *
   * @throws {DuplicatePublicIPError} when another live host has become the holder
   */
  async guard(seen: StoredNodeRecord | undefined): Promise<void> {
    if (this.#identity === undefined) return;
    const { store, signal } = this.#options;
    const { publicIP } = this.#identity;
    this.#identity = await guardIdentity(store, seen, publicIP, this.#record, { signal });
  }

  /**
   * Takes a lease for `config`, the one we had before if possible.
   *
   * @param foreignLeaseReason what the backend says of a lease that no agent record vouches for
   * @param given what is known of the store and of this host
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
        const doubt = this.#former === undefined ? foreignLeaseReason?.(found) : undefined;
        if (doubt === undefined) return;
        warning(
          `Lease ${found.subnet} carries our public IP, but ${doubt}. That is normal after a ` +
            `reboot; if another host runs flannel with this address, choose an interface or ` +
            `address of this host's own with -iface or -public-ip`,
        );
      },
    });
    this.#hold(lease, RENEWAL_RETRY);
    await this.removeSurplus(given.snapshot?.leases ?? [], attributes);
    return lease;
  }

  /**
   * Removes leases that this host wrote besides the one that it holds: a request whose reply was lost, or
   * that reaches the store late, would keep a subnet from the others for a day. Reservations stay.
   *
   * @param leases what the store is known to hold, or what was added to it
   * @param attributes what this host writes into its leases
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
   * Takes in what the watch says of our subnet. It may lag behind our own writes, so that anything
   * but what we hold is only a reason to look.
   *
   * @returns false when the lease is no longer ours
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
    // A change that we did not make: an operator made it permanent, or gave it a lifetime.
    if (stands.revision !== held.revision) this.#hold(stands);
    return true;
  }

  /**
   * Renews lease and record. A failure is logged and tried again in a minute.
   *
   * @returns false when the lease turned out to be no longer ours
   * @throws {DuplicatePublicIPError} when another live host has become the holder of our public IP
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
      // Changed behind our back; the watch says so too, but may be the slower one.
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
    // A newcomer's claim may have just been made, and is to be refused, not written over.
    await this.guard(await store.agent(publicIP, { signal }));
    const expected = this.#identity?.revision;
    try {
      this.#identity = await store.putAgent(publicIP, this.#record, LEASE_TTL, expected, {
        signal,
      });
    } catch (cause) {
      // Made in this very moment: the watch tells of it.
      if (!(cause instanceof ConflictError)) throw cause;
    }
  }

  /**
   * @param least seconds until it is renewed, at least: a server that grants less than the margin, or
   * tells it by a clock that is off, is written to no more often than one that has failed
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

/** A record that says what a data path takes. */
function withFeatures(record: NodeRecord, features: readonly string[]): NodeRecord {
  const { features: _former, ...bare } = record;
  return features.length === 0 ? bare : { ...bare, features };
}
