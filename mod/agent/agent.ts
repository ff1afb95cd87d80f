import { sleep } from "../async/sleep.ts";
import type { Network } from "../../backends/backend.ts";
import { loadBackend } from "../../backends/registry.ts";
import { ConfigError, decodeNetworkConfig, type NetworkConfig } from "../config/mod.ts";
import type { PreviousSubnet } from "../export/mod.ts";
import type { ExternalInterface } from "../host/mod.ts";
import type { Prefix } from "../ip/mod.ts";
import type { AgentRecord, Lease, LeaseAttributes, StoredAgentRecord } from "../lease/mod.ts";
import { info, notifySystemd, warning } from "../observe/mod.ts";
import {
  type Change,
  type ConfigText,
  type Cursor,
  type Snapshot,
  type Store,
  StoreError,
  type WatchItem,
} from "../store/mod.ts";
import {
  AcquireError,
  DuplicatePublicIPError,
  isEmpty,
  type LeaseEvent,
  LeaseSet,
  type LeaseSetChange,
} from "../subnet/mod.ts";
import type { Netlink } from "../sys/mod.ts";
import { Inbox } from "./inbox.ts";
import { LeaseKeeper } from "./lease_keeper.ts";
import type { AgentOptions } from "./options.ts";
import { Publisher } from "./publisher.ts";
import { Repairs } from "./repairs.ts";
import { StateLog } from "./state_log.ts";
import { Timer } from "./timer.ts";

/** How soon what failed for want of the store, a free subnet or the kernel is tried again, in ms. */
const RETRY = 2_000;

/** All that can happen to an agent. */
type AgentEvent =
  | { readonly type: "watch"; readonly item: WatchItem }
  | { readonly type: "repair" | "renew" | "firewall" | "retry" }
  | { readonly type: "failed"; readonly error: unknown };

/** What an {@linkcode Agent} works with. */
export interface AgentParts {
  readonly options: AgentOptions;
  readonly store: Store;
  readonly netlink: Netlink;
  readonly external: ExternalInterface;
  readonly record: AgentRecord;
  /** What subnet.env said at start. */
  readonly former: PreviousSubnet;
  readonly signal: AbortSignal;
}

/** A network that is up: its config and the backend that carries it. */
interface Active {
  readonly config: NetworkConfig;
  readonly network: Network;
  readonly attributes: LeaseAttributes;
  readonly watching: AbortController;
}

/**
 * The daemon: one network from its config to the kernel, for as long as the process lives.
 *
 * Everything that happens (the store's changes, timers, damage in the kernel) becomes an event in
 * one inbox. An event updates what is known; then {@linkcode Agent.#settle} compares that with
 * what is up and does what is missing. So start, a changed config, a lost lease and a deleted
 * directory are one piece of code, and what failed is simply tried again.
 */
export class Agent implements AsyncDisposable {
  readonly #parts: AgentParts;
  readonly #inbox = new Inbox<AgentEvent>();
  readonly #state = new StateLog();
  readonly #leases = new LeaseSet();
  readonly #keeper: LeaseKeeper;
  readonly #publisher: Publisher;
  readonly #repairs: Repairs;
  readonly #retry: Timer;
  /** Networks that were served on this host, the present one included. */
  readonly #served: Prefix[] = [];
  #config: ConfigText = { missing: "not read yet" };
  /** News of the record under our public IP that has not been acted on; `undefined`: none. */
  #recordNews: { readonly agent: StoredAgentRecord | undefined } | undefined;
  #active: Active | undefined;

  constructor(parts: AgentParts) {
    this.#parts = parts;
    const { options, store, external, record, former, signal } = parts;
    const push = (type: "repair" | "renew" | "firewall" | "retry") => () =>
      this.#inbox.push({ type });
    this.#keeper = new LeaseKeeper({
      store,
      publicIP: external.publicIP,
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
    const first = await this.#firstSnapshot();
    this.#takeSnapshot(first);
    this.#watchStore(first.cursor);
    await this.#settle();
    for (;;) await this.#handle(await this.#inbox.next(this.#parts.signal));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#active?.watching.abort();
    await this.#active?.network.close();
    this.#keeper[Symbol.dispose]();
    this.#publisher[Symbol.dispose]();
    this.#repairs[Symbol.dispose]();
    this.#retry[Symbol.dispose]();
  }

  async #firstSnapshot(): Promise<Snapshot> {
    const { store, signal } = this.#parts;
    for (;;) {
      try {
        return await store.snapshot({ signal });
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof StoreError)) throw error;
        this.#trouble(`failed to retrieve network config: ${error.message}`);
        await sleep(RETRY, signal);
        signal.throwIfAborted();
      }
    }
  }

  #watchStore(cursor: Cursor): void {
    const { store, signal } = this.#parts;
    const connection = new StateLog();
    const onState = (error: Error | undefined) => {
      if (error !== undefined) connection.trouble(`Watch subnets: ${error.message}`);
      else if (connection.clear()) info("Watch subnets: connected again");
    };
    const pump = async () => {
      for await (const item of store.watch(cursor, { signal, onState })) {
        this.#inbox.push({ type: "watch", item });
      }
    };
    pump().catch((error) => this.#inbox.push({ type: "failed", error }));
  }

  async #handle(event: AgentEvent): Promise<void> {
    switch (event.type) {
      case "failed":
        throw event.error;
      case "firewall":
        return await this.#publisher.checkFirewall();
      case "retry":
        return await this.#look();
      case "repair":
        return await this.#attempt(() => this.#repair());
      case "renew":
        return await this.#attempt(async () => {
          if (!await this.#keeper.renew()) await this.#settle();
        });
      case "watch": {
        const change = event.item.type === "resync"
          ? this.#takeSnapshot(event.item.snapshot, event.item.reason)
          : this.#takeChanges(event.item.changes);
        // The peers first: they wait for nothing that the store would have to answer.
        if (this.#active !== undefined && !isEmpty(change)) await this.#apply(change);
        return await this.#look();
      }
    }
  }

  /** Looks whether what is ours still is, then whether anything is missing. */
  #look(): Promise<void> {
    return this.#attempt(async () => {
      await this.#checkOwn();
      await this.#settle();
    });
  }

  #takeSnapshot(snapshot: Snapshot, reason?: string): LeaseSetChange {
    if (reason !== undefined) info(`Read the store anew: ${reason}`);
    this.#config = snapshot.config;
    const { publicIP } = this.#parts.external;
    this.#recordNews = { agent: snapshot.agents.find((agent) => agent.publicIP === publicIP) };
    return this.#leases.replace(snapshot.leases);
  }

  #takeChanges(changes: readonly Change[]): LeaseSetChange {
    const leases: LeaseEvent[] = [];
    const { publicIP } = this.#parts.external;
    for (const change of changes) {
      switch (change.type) {
        case "config":
          this.#config = change.config;
          break;
        case "lease":
          leases.push({ put: change.lease });
          break;
        case "lease-removed":
          leases.push({ remove: change.subnet });
          break;
        case "agent":
          if (change.agent.publicIP === publicIP) this.#recordNews = { agent: change.agent };
          break;
        case "agent-removed":
          if (change.publicIP === publicIP) this.#recordNews = { agent: undefined };
          break;
      }
    }
    return this.#leases.apply(leases);
  }

  /** Sees to it that our record and our lease are still ours. */
  async #checkOwn(): Promise<void> {
    if (this.#recordNews !== undefined) {
      await this.#keeper.guard(this.#recordNews.agent);
      this.#recordNews = undefined;
    }
    const held = this.#keeper.lease;
    if (held === undefined || this.#active === undefined) return;
    if (await this.#keeper.observe(this.#leases.get(held.subnet), this.#active.attributes)) return;
    warning(`Lease ${held.subnet} has been revoked, or changed by someone else`);
  }

  /**
   * Does what is missing between what is known and what is up. Nothing to do costs nothing.
   */
  #settle(): Promise<void> {
    return this.#attempt(async () => {
      if ("missing" in this.#config) {
        return this.#trouble(this.#missing(this.#config.missing));
      }
      const active = this.#active;
      if (active === undefined || active.config.text !== this.#config.text) {
        await this.#bringUp(await decodeNetworkConfig(this.#config.text), active);
      } else if (this.#keeper.lease === undefined) {
        info("Acquiring a lease again");
        await this.#lease(active, this.#publisher.published.subnet);
      }
      if (this.#state.clear()) info("All is well again");
    });
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
    const { options, store, netlink, external, signal } = this.#parts;
    if (former !== undefined) {
      info(`Network config changed: ${former.config.text} is now ${config.text}`);
    }
    await this.#keeper.identify();
    const backend = await loadBackend(config.backend.type);
    // Two of one kind may want one device or one port.
    if (former?.config.backend.type === config.backend.type) await former.network.close();
    const network = await backend.prepare({
      config,
      external,
      netlink,
      udp: options.udp,
      formerNetworks: this.#served,
      formerData: this.#keeper.knowsFormerLease
        ? this.#storedOwn()?.attributes.backendData
        : undefined,
    });
    const data = network.leaseData(store.leaseForm);
    const active: Active = {
      config,
      network,
      attributes: {
        publicIP: external.publicIP,
        ...(network.leaseType === undefined ? {} : { backendType: network.leaseType }),
        ...(data === undefined ? {} : { backendData: data }),
      },
      watching: new AbortController(),
    };
    try {
      await this.#lease(active, this.#publisher.published.subnet);
    } catch (error) {
      // The next attempt prepares anew, and must not meet this one on its device.
      await network.close();
      throw error;
    }
    former?.watching.abort();
    if (former !== undefined && former.network.status().device !== network.status().device) {
      await former.network.remove();
    }
    this.#active = active;
    if (!this.#served.some((prefix) => prefix.equals(config.network))) {
      this.#served.push(config.network);
    }
    network.run(
      AbortSignal.any([signal, active.watching.signal]),
      (what) => this.#repairs.request(what),
    ).catch((error) => this.#inbox.push({ type: "failed", error }));
  }

  /** Takes a lease for a network, programs the peers, tells the host. */
  async #lease(active: Active, previous: Prefix | undefined): Promise<void> {
    const { config, network, attributes } = active;
    const leases = [...this.#leases.values()];
    const lease = await this.#keeper.acquire(
      config,
      attributes,
      previous,
      network.suspicion?.bind(network),
      { leases },
    );
    // Our own write comes back through the watch; until then it is known from here.
    this.#leases.apply([{ put: lease }]);
    this.#repairs.done(await network.sync(lease, this.#leases));
    await this.#publisher.publish(config, lease, network.mtu);
    this.#tellStatus(active, lease);
  }

  async #apply(change: LeaseSetChange): Promise<void> {
    const active = this.#active!;
    await this.#attempt(async () => {
      const refused = await active.network.apply(change);
      if (refused > 0) this.#repairs.retry();
    });
    if (this.#keeper.lease !== undefined) this.#tellStatus(active, this.#keeper.lease);
  }

  async #repair(): Promise<void> {
    const lease = this.#keeper.lease;
    if (this.#active === undefined || lease === undefined) return;
    this.#repairs.done(await this.#active.network.sync(lease, this.#leases));
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

  /** The lease with our public IP that the store holds, whoever wrote it. */
  #storedOwn(): Lease | undefined {
    const { publicIP } = this.#parts.external;
    for (const lease of this.#leases.values()) {
      if (lease.attributes.publicIP === publicIP) return lease;
    }
    return undefined;
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
