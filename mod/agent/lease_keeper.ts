import type { NetworkConfig } from "../config/mod.ts";
import type { IPv4, Prefix } from "../ip/mod.ts";
import {
  type AgentRecord,
  type Lease,
  LEASE_TTL,
  type LeaseAttributes,
  PERMANENT,
  sameAttributes,
  type StoredAgentRecord,
} from "../lease/mod.ts";
import { error, info, warning } from "../observe/mod.ts";
import { ConflictError, type Snapshot, type Store, StoreError } from "../store/mod.ts";
import {
  acquireLease,
  claimIdentity,
  guardIdentity,
  RENEWAL_RETRY,
  renewalDelay,
} from "../subnet/mod.ts";
import { Timer } from "./timer.ts";

/** What a {@linkcode LeaseKeeper} is given. */
export interface LeaseKeeperOptions {
  readonly store: Store;
  readonly publicIP: IPv4;
  /** Who we are. */
  readonly record: AgentRecord;
  /** Seconds before expiry at which to renew. */
  readonly renewMargin: number;
  /** Called when a renewal is due; the owner then calls {@linkcode LeaseKeeper.renew}. */
  readonly onDue: () => void;
  readonly signal: AbortSignal;
}

/**
 * Holds this host's place in the store: its identity record and its lease. It decides nothing by
 * itself; the agent tells it what the watch reports.
 */
export class LeaseKeeper implements Disposable {
  readonly #options: LeaseKeeperOptions;
  readonly #renewal: Timer;
  #identity: StoredAgentRecord | undefined;
  #former: AgentRecord | undefined;
  #lease: Lease | undefined;

  constructor(options: LeaseKeeperOptions) {
    this.#options = options;
    this.#renewal = new Timer(options.onDue);
  }

  /** The lease held; `undefined` before the first one and after it was lost. */
  get lease(): Lease | undefined {
    return this.#lease;
  }

  /** True when the record we found was this machine's own: its lease is known to be ours. */
  get knowsFormerLease(): boolean {
    return this.#former?.machineId === this.#options.record.machineId;
  }

  /**
   * Becomes the holder of our public IP; once, before anything is leased.
   *
   * @throws {DuplicatePublicIPError} when another live host is
   */
  async identify(): Promise<void> {
    if (this.#identity !== undefined) return;
    const { store, publicIP, record, signal } = this.#options;
    this.#former = (await store.agent(publicIP, { signal }))?.record;
    this.#identity = await claimIdentity(store, publicIP, record, { signal });
  }

  /**
   * Acts on a change of the record under our public IP.
   *
   * @throws {DuplicatePublicIPError} when another live host has become the holder
   */
  async guard(seen: StoredAgentRecord | undefined): Promise<void> {
    if (this.#identity === undefined) return;
    const { store, publicIP, record, signal } = this.#options;
    this.#identity = await guardIdentity(store, seen, publicIP, record, { signal });
  }

  /**
   * Takes a lease for `config`, the one we had before if possible.
   *
   * @param suspicion what the backend says of a lease that no agent record vouches for
   */
  async acquire(
    config: NetworkConfig,
    attributes: LeaseAttributes,
    previous: Prefix | undefined,
    suspicion: ((lease: Lease) => string | undefined) | undefined,
    snapshot?: Pick<Snapshot, "leases">,
  ): Promise<Lease> {
    const { store, signal } = this.#options;
    this.#lease = undefined;
    this.#renewal.clear();
    const lease = await acquireLease(store, config, attributes, {
      previous,
      signal,
      ...(snapshot ? { snapshot } : {}),
      inspect: (found) => {
        const doubt = this.#former === undefined ? suspicion?.(found) : undefined;
        if (doubt === undefined) return;
        warning(
          `Lease ${found.subnet} carries our public IP, but ${doubt}. That is normal after a ` +
            `reboot; if another host runs flannel with this address, choose an interface or ` +
            `address of this host's own with -iface or -public-ip`,
        );
      },
    });
    this.#hold(lease);
    return lease;
  }

  /**
   * Takes in what the watch says of our subnet.
   *
   * @returns false when the lease is no longer ours
   */
  async observe(seen: Lease | undefined, attributes: LeaseAttributes): Promise<boolean> {
    const held = this.#lease;
    if (held === undefined) return false;
    if (seen === undefined || !sameAttributes(seen.attributes, attributes)) {
      this.#lose();
      return false;
    }
    if (seen.revision === held.revision) return true;
    // A change that we did not make: an operator made it permanent, or gave it a lifetime.
    const { store, signal } = this.#options;
    const told = seen.ttl !== undefined
      ? seen
      : await store.lease(seen.subnet, { signal }) ?? undefined;
    if (told === undefined) return true; // its removal is the next event
    this.#hold(told);
    return true;
  }

  /**
   * Renews lease and record. A failure is logged and tried again in a minute.
   *
   * @returns false when the lease turned out to be no longer ours
   */
  async renew(): Promise<boolean> {
    const { store, publicIP, record, signal } = this.#options;
    const lease = this.#lease;
    if (lease === undefined) return false;
    try {
      const ttl = lease.ttl === PERMANENT ? PERMANENT : LEASE_TTL;
      this.#hold(await store.updateLease(lease, lease.attributes, ttl, { signal }));
      const expires = new Date(Date.now() + LEASE_TTL * 1000).toISOString();
      info(`Lease renewed, new expiration: ${expires}`, { subnet: lease.subnet });
      this.#identity = await store.putAgent(
        publicIP,
        record,
        LEASE_TTL,
        this.#identity?.revision,
        { signal },
      );
    } catch (cause) {
      if (cause instanceof ConflictError) {
        // Changed behind our back; the watch says so too, but may be the slower one.
        return await this.observe(await store.lease(lease.subnet, { signal }), lease.attributes);
      }
      if (!(cause instanceof StoreError)) throw cause;
      error(`Error renewing lease (trying again in 1 min): ${cause.message}`);
      this.#renewal.set(RENEWAL_RETRY * 1000);
    }
    return true;
  }

  #hold(lease: Lease): void {
    this.#lease = lease;
    const delay = renewalDelay(lease.ttl, this.#options.renewMargin);
    if (delay === undefined) this.#renewal.clear();
    else this.#renewal.set(delay * 1000);
  }

  #lose(): void {
    this.#lease = undefined;
    this.#renewal.clear();
  }

  [Symbol.dispose](): void {
    this.#renewal.clear();
  }
}
