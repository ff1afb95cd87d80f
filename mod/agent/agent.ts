import type { Network } from "../../backends/backend.ts";
import { loadBackend } from "../../backends/registry.ts";
import { ConfigError, decodeNetworkConfig, type NetworkConfig } from "../config/mod.ts";
import type { PreviousSubnet } from "../export/mod.ts";
import {
  describeChange,
  type ExternalInterface,
  InterfaceError,
  InterfaceWatch,
} from "../host/mod.ts";
import type { Prefix } from "../ip/mod.ts";
import {
  type AgentRecord,
  type Lease,
  type LeaseAttributes,
  sameAttributes,
} from "../lease/mod.ts";
import { info, notifySystemd, warning } from "../observe/mod.ts";
import { type Store, StoreError, type WatchItem } from "../store/mod.ts";
import {
  AcquireError,
  DuplicatePublicIPError,
  isEmpty,
  type LeaseSetChange,
} from "../subnet/mod.ts";
import type { Netlink } from "../sys/mod.ts";
import { Inbox } from "./inbox.ts";
import { Known } from "./known.ts";
import { LeaseKeeper } from "./lease_keeper.ts";
import type { AgentOptions } from "./options.ts";
import { Publisher } from "./publisher.ts";
import { Repairs } from "./repairs.ts";
import { StateLog } from "./state_log.ts";
import { firstSnapshot, followStore } from "./store_feed.ts";
import { Timer } from "./timer.ts";

/** How soon what failed for want of the store, a free subnet or the kernel is tried again, in ms. */
const RETRY = 2_000;

/** All that can happen to an agent. */
type AgentEvent =
  | { readonly type: "watch"; readonly item: WatchItem }
  | { readonly type: Signal }
  | { readonly type: "failed"; readonly error: unknown };

/** What is told by its kind alone. */
type Signal = "interface" | "repair" | "renew" | "firewall" | "retry";

/** What an {@linkcode Agent} works with. */
export interface AgentParts {
  readonly options: AgentOptions;
  readonly store: Store;
  readonly netlink: Netlink;
  /** What was chosen at start; the agent follows it. */
  readonly external: ExternalInterface;
  readonly record: AgentRecord;
  /** What subnet.env said at start. */
  readonly former: PreviousSubnet;
  readonly signal: AbortSignal;
}

/** A network that is up: its config and the backend that carries it. */
interface Active {
  readonly config: NetworkConfig;
  readonly external: ExternalInterface;
  readonly network: Network;
  readonly attributes: LeaseAttributes;
  readonly watching: AbortController;
}

/**
 * The daemon: one network from its config to the kernel, for as long as the process lives.
 *
 * Everything that happens (the store's changes, timers, damage in the kernel) becomes an event in
 * one inbox. An event updates what is known; then {@linkcode Agent.#settle} compares that with
 * what is up and does what is missing. So start, a changed config, another address, a lost lease and
 * a deleted directory are one piece of code, and what failed is simply tried again.
 */
export class Agent implements AsyncDisposable {
  readonly #parts: AgentParts;
  readonly #inbox = new Inbox<AgentEvent>();
  readonly #state = new StateLog();
  readonly #known = new Known();
  readonly #watch: InterfaceWatch;
  readonly #keeper: LeaseKeeper;
  readonly #publisher: Publisher;
  readonly #repairs: Repairs;
  readonly #retry: Timer;
  /** Networks that were served on this host, the present one included. */
  readonly #served: Prefix[] = [];
  #external: ExternalInterface;
  /** The external interface may have changed since it was looked at, or is missing. */
  #isInterfaceStale = false;
  #active: Active | undefined;
  /** The kernel may not have what it should: a look at all of it has failed, or was put off. */
  #unsynced = false;

  constructor(parts: AgentParts) {
    this.#parts = parts;
    const { options, store, external, record, former, signal } = parts;
    this.#external = external;
    this.#watch = new InterfaceWatch({
      options: options.interface,
      chosen: external,
      netlink: parts.netlink,
    });
    const push = (type: Signal) => () => this.#inbox.push({ type });
    this.#keeper = new LeaseKeeper({
      store,
      record,
      renewMargin: options.renewMargin,
      onDue: push("renew"),
      signal,
    });
    this.#publisher = new Publisher(options, former, push("firewall"), signal);
    this.#repairs = new Repairs(push("repair"));
    this.#retry = new Timer(push("retry"));
    if (former.network) this.#served.push(former.network);
  }

  /** True once a lease is published. */
  get isReady(): boolean {
    return this.#publisher.isReady;
  }

  /**
   * Runs until the signal aborts.
   *
   * @throws the signal's reason
   * @throws {DuplicatePublicIPError} when another live host has our public IP
   * @throws {SysError | FirewallError} when the host refuses what the first start needs
   */
  async run(): Promise<never> {
    const { store, signal } = this.#parts;
    const failed = (error: unknown) => this.#inbox.push({ type: "failed", error });
    const first = await firstSnapshot(store, signal, (message) => this.#trouble(message));
    this.#known.takeSnapshot(first, this.#external.publicIP);
    followStore(store, first.cursor, signal, (item) => this.#inbox.push({ type: "watch", item }))
      .catch(failed);
    await this.#settle();
    this.#watch.run(signal, () => this.#inbox.push({ type: "interface" })).catch(failed);
    for (;;) await this.#handle(await this.#inbox.next(signal));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#active?.watching.abort();
    await this.#active?.network.close();
    this.#keeper[Symbol.dispose]();
    this.#publisher[Symbol.dispose]();
    this.#repairs[Symbol.dispose]();
    this.#retry[Symbol.dispose]();
  }

  async #handle(event: AgentEvent): Promise<void> {
    switch (event.type) {
      case "failed":
        throw event.error;
      case "firewall":
        return await this.#publisher.checkFirewall();
      case "interface":
        this.#isInterfaceStale = true;
        return await this.#settle();
      case "repair":
        // What was taken away may have gone with the interface.
        this.#isInterfaceStale = true;
        this.#unsynced = true;
        return await this.#settle();
      case "retry":
        return await this.#look();
      case "renew":
        return await this.#attempt(async () => {
          if (!await this.#keeper.renew()) await this.#settle();
        });
      case "watch": {
        const { publicIP } = this.#external;
        const change = event.item.type === "resync"
          ? this.#known.takeSnapshot(event.item.snapshot, publicIP, event.item.reason)
          : this.#known.takeChanges(event.item.changes, publicIP);
        // The peers first: they wait for nothing that the store would have to answer.
        if (!isEmpty(change)) await this.#apply(change);
        await this.#applyFeatures();
        return await this.#look();
      }
    }
  }

  /** Looks whether what is ours still is, then whether anything is missing. */
  #look(): Promise<void> {
    return this.#attempt(async () => {
      // The kernel waits for nothing that the store would have to answer.
      if (!await this.#mend()) return;
      await this.#checkOwn();
      await this.#settle();
    });
  }

  /** Sees to it that our record and our lease are still ours. */
  async #checkOwn(): Promise<void> {
    const { recordNews, leases } = this.#known;
    if (recordNews !== undefined) {
      await this.#keeper.guard(recordNews.agent);
      this.#known.recordNews = undefined;
    }
    const held = this.#keeper.lease;
    if (held === undefined || this.#active === undefined) return;
    if (await this.#keeper.observe(leases.get(held.subnet), this.#active.attributes)) return;
    warning(`Lease ${held.subnet} has been revoked, or changed by someone else`);
  }

  /**
   * Does what is missing between what is known and what is up. Nothing to do costs nothing.
   */
  #settle(): Promise<void> {
    return this.#attempt(async () => {
      if (!await this.#mend()) return;
      const active = this.#active;
      const { config } = this.#known;
      const isMoved = active !== undefined && active.external !== this.#external;
      if ("missing" in config) {
        if (isMoved) await this.#bringUp(active.config, active);
        return this.#trouble(this.#missing(config.missing));
      }
      if (isMoved || active?.config.text !== config.text) {
        await this.#bringUp(await decodeNetworkConfig(config.text), active);
      } else if (this.#keeper.lease === undefined) {
        info("Acquiring a lease again");
        await this.#lease(active, this.#publisher.published.subnet);
      }
      await this.#announce();
      if (this.#state.clear()) info("All is well again");
    });
  }

  /**
   * Takes in what became of the external interface, and puts right what the kernel is missing, as far
   * as that needs no other network.
   *
   * @returns false while there is no interface to work with
   */
  async #mend(): Promise<boolean> {
    if (this.#isInterfaceStale) {
      try {
        const seen = this.#watch.look();
        if (seen !== this.#external) {
          warning(`The external interface has changed: ${describeChange(this.#external, seen)}`);
          // Connections from an address that is gone answer no more.
          if (seen.address !== this.#external.address) this.#parts.store.reconnect();
        }
        this.#external = seen;
        this.#isInterfaceStale = false;
      } catch (error) {
        if (!(error instanceof InterfaceError)) throw error;
        this.#unsynced = true;
        this.#trouble(`${error.message}; waiting for it`);
        return false;
      }
    }
    if (this.#unsynced && this.#active?.external === this.#external) await this.#sync();
    return true;
  }

  #missing(reason: string): string {
    const { prefix } = this.#parts.options.etcd;
    const message = `failed to retrieve network config: ${reason}`;
    return this.#active === undefined
      ? `${message}; it is looked for at ${prefix}/config in ${this.#parts.store.name} (see ` +
        `-etcd-prefix, FLANNEL_ETCD_PREFIX and -etcd-api)`
      : `${message}; keeping the data path as it is until there is one again`;
  }

  /** Starts the network of a config, or goes over to it from another while packets flow. */
  async #bringUp(config: NetworkConfig, former: Active | undefined): Promise<void> {
    const { options, store, netlink, signal } = this.#parts;
    const external = this.#external;
    if (former !== undefined && former.config.text !== config.text) {
      info(`Network config changed: ${former.config.text} is now ${config.text}`);
    }
    await this.#keeper.identify(external.publicIP);
    const backend = await loadBackend(config.backend.type);
    // Two of one kind may want one device or one port.
    if (former?.config.backend.type === config.backend.type) await former.network.close();
    const network = await backend.prepare({
      config,
      external,
      netlink,
      udp: options.udp,
      vxlan: options.vxlan,
      featuresOf: (publicIP) => this.#known.features.of(publicIP),
      formerNetworks: this.#served,
      formerData: this.#formerData(),
    });
    const data = network.leaseData(store.leaseForm);
    const active: Active = {
      config,
      external,
      network,
      attributes: {
        publicIP: external.publicIP,
        ...(network.leaseType === undefined ? {} : { backendType: network.leaseType }),
        ...(data === undefined ? {} : { backendData: data }),
      },
      watching: new AbortController(),
    };
    const held = this.#keeper.lease;
    try {
      // Only the device is new: that must not wait for a store which may lie behind it.
      if (
        held !== undefined && former?.config.text === config.text &&
        sameAttributes(held.attributes, active.attributes)
      ) await this.#program(active, held);
      else await this.#lease(active, this.#publisher.published.subnet);
    } catch (error) {
      // The next attempt prepares anew, and must not meet this one on its device.
      await network.close();
      throw error;
    }
    former?.watching.abort();
    this.#active = active;
    if (former !== undefined && !isOneDevice(former, active)) {
      await former.network.remove();
      // Routes of two backends may be the same ones.
      await this.#sync();
    }
    if (!this.#served.some((prefix) => prefix.equals(config.network))) {
      this.#served.push(config.network);
    }
    network.run(
      AbortSignal.any([signal, active.watching.signal]),
      (what) => this.#repairs.request(what),
    ).catch((error) => this.#inbox.push({ type: "failed", error }));
  }

  /** `BackendData` that peers know this host by. */
  #formerData(): Lease["attributes"]["backendData"] {
    const { lease, knowsFormerLease } = this.#keeper;
    if (lease !== undefined) return lease.attributes.backendData;
    if (!knowsFormerLease) return undefined;
    return this.#known.leaseOf(this.#external.publicIP)?.attributes.backendData;
  }

  /** Takes a lease for a network, programs the peers, tells the host. */
  async #lease(active: Active, previous: Prefix | undefined): Promise<void> {
    const { config, network, attributes } = active;
    const lease = await this.#keeper.acquire(
      config,
      attributes,
      previous,
      network.suspicion?.bind(network),
      { leases: [...this.#known.leases.values()] },
    );
    // Our own write comes back through the watch; until then it is known from here.
    this.#known.leases.apply([{ put: lease }]);
    await this.#program(active, lease);
  }

  /** Programs all peers, tells the host. */
  async #program(active: Active, lease: Lease): Promise<void> {
    await this.#synchronize(active.network, lease);
    await this.#publisher.publish(active.config, lease, active.network.mtu);
    this.#tellStatus(active, lease);
  }

  async #synchronize(network: Network, lease: Lease): Promise<void> {
    this.#unsynced = true;
    this.#repairs.done(await network.sync(lease, this.#known.leases));
    this.#unsynced = false;
  }

  /** Looks over everything in the kernel that is ours. */
  async #sync(): Promise<void> {
    const { lease } = this.#keeper;
    if (this.#active !== undefined && lease !== undefined) {
      await this.#synchronize(this.#active.network, lease);
    }
  }

  /** Carries a change of the peers to the kernel, unless all of it is to be looked over anyway. */
  async #apply(change: LeaseSetChange): Promise<void> {
    const active = this.#active;
    if (active === undefined || this.#unsynced || active.external !== this.#external) return;
    await this.#attempt(async () => {
      this.#unsynced = true;
      const refused = await active.network.apply(change);
      this.#unsynced = false;
      if (refused > 0) this.#repairs.retry();
    });
    if (this.#keeper.lease !== undefined) this.#tellStatus(active, this.#keeper.lease);
  }

  /** Carries to the kernel that hosts have begun, or ceased, to take more than all do. */
  async #applyFeatures(): Promise<void> {
    const changed = this.#known.features.takeChanged();
    const active = this.#active;
    // A look at everything asks anew anyway.
    if (changed.size === 0 || active === undefined || this.#unsynced) return;
    await this.#attempt(async () => {
      const refused = await active.network.featuresChanged?.(changed) ?? 0;
      if (refused > 0) this.#repairs.retry();
    });
  }

  /** Tells the other hosts what ours takes, once it does. Our packets do not wait for the store. */
  async #announce(): Promise<void> {
    if (this.#active === undefined || this.#keeper.lease === undefined) return;
    await this.#keeper.announce(this.#active.network.features?.() ?? []);
  }

  /** Runs a step. What may mend itself is said and tried again; the rest is thrown. */
  async #attempt(step: () => Promise<void>): Promise<void> {
    try {
      await step();
    } catch (error) {
      this.#parts.signal.throwIfAborted();
      if (error instanceof ConfigError) {
        // Only another config mends this, and that will be an event.
        return this.#trouble(`the network config cannot be used: ${error.message}`);
      }
      const passing = error instanceof StoreError || error instanceof AcquireError ||
        // Before the first lease is up the operator is watching and systemd tries again.
        (this.#publisher.isReady && !(error instanceof DuplicatePublicIPError) &&
          error instanceof Error);
      if (!passing) throw error;
      this.#trouble(error.message);
      this.#retry.set(RETRY);
    }
  }

  #trouble(message: string): void {
    this.#state.trouble(message);
    notifySystemd(`STATUS=${message}`);
  }

  #tellStatus({ config, network }: Active, lease: Lease): void {
    const { device, peers } = network.status();
    notifySystemd(
      `STATUS=Lease ${lease.subnet}, ${config.backend.type}${device ? ` on ${device}` : ""}, ` +
        `${peers} peers`,
    );
  }
}

/** True when the later of two networks goes on with the device of the earlier. */
function isOneDevice(before: Active, after: Active): boolean {
  return before.config.backend.type === after.config.backend.type &&
    before.network.status().device === after.network.status().device;
}
