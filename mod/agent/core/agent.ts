import { ConfigError, decodeNetworkConfig } from "../../config/mod.ts";
import type { PreviousSubnet } from "../../export/mod.ts";
import {
  describeChange,
  type ExternalInterface,
  InterfaceError,
  InterfaceWatch,
} from "../../host/mod.ts";
import type { Lease, NodeRecord } from "../../lease/mod.ts";
import { info, notifySystemd, warning } from "../../observe/mod.ts";
import { type Deadline, linkedSignal } from "../../store/deadline.ts";
import { type NetworkStore, StoreError, type WatchItem } from "../../store/mod.ts";
import { describeConfigPlace } from "../../store/options.ts";
import { AcquireError, DuplicatePublicIPError, isEmpty } from "../../subnet/mod.ts";
import type { Netlink } from "../../sys/mod.ts";
import type { HostRegistry } from "../host/host_registry.ts";
import { Inbox } from "./inbox.ts";
import { StoreView } from "./store_view.ts";
import { DISPUTE_RETRY, LeaseKeeper } from "../lease/keeper.ts";
import { checkOwnEntries } from "../lease/own_entries.ts";
import type { AgentOptions } from "./options.ts";
import { Overlay } from "./overlay.ts";
import { Publisher } from "../lease/publisher.ts";
import { Repairs } from "./repairs.ts";
import { MASQUERADE_FEATURE } from "../firewall/source_policy.ts";
import { observedStore } from "../status/store.ts";
import type { AgentView } from "../status/view.ts";
import { AgentMetrics } from "../status/agent_metrics.ts";
import { WarningLog } from "./warning_log.ts";
import { firstSnapshot, followStore } from "./store_feed.ts";
import { Timer } from "./timer.ts";
import { NetworkRefusedError } from "./usable_network.ts";

/** Milliseconds until the agent retries a step that failed because of the store, a full network or the kernel. */
const RETRY = 2_000;

/** Milliseconds until the agent tries a network again that this host refused. */
const HOST_RETRY = 10_000;

/**
 * How long queued changes of the store may put off the steps that follow from them, in ms, counted from the
 * end of the steps before. A bring-up takes half a second, on a busy machine several: of 200 configs that
 * come within 8 s the agent brings up some 15, and the last one at once.
 */
const MAX_DELAY = 1_000;

/** An event of an agent's inbox. */
type AgentEvent =
  /** @property arrival by `performance.now()` */
  | { readonly type: "watch"; readonly item: WatchItem; readonly arrival: number }
  | { readonly type: Signal }
  | { readonly type: "failed"; readonly error: unknown };

/** The type of an event without data. */
type Signal = "interface" | "repair" | "renew" | "firewall" | "sources" | "retry";

/** Dependencies of an {@linkcode Agent}. */
export interface AgentParts {
  readonly options: AgentOptions;
  readonly store: NetworkStore;
  readonly netlink: Netlink;
  /** The interface chosen at start; the agent follows its changes. */
  readonly external: ExternalInterface;
  readonly record: NodeRecord;
  /** Content of subnet.env at start. */
  readonly former: PreviousSubnet;
  readonly registry: HostRegistry;
  readonly signal: AbortSignal;
}

/**
 * The daemon of one network: it brings the network's config into the kernel until the process ends.
 *
 * Every change of the store, timer and damage in the kernel becomes an event in one inbox. The agent
 * updates its view of the store from the event, and {@linkcode Agent.#reconcile} compares that view with
 * the active network. A start, a changed config, another address, a lost lease and a deleted directory
 * therefore share one piece of code, and a failed step is retried by running it again.
 */
export class Agent implements AsyncDisposable {
  readonly #parts: AgentParts;
  /** Ends the agent's watches at disposal: another agent may start in the same process. */
  readonly #life: Deadline;
  readonly #inbox = new Inbox<AgentEvent>();
  readonly #state = new WarningLog();
  readonly #connection = new WarningLog();
  readonly #metrics = new AgentMetrics();
  readonly #known = new StoreView();
  readonly #watch: InterfaceWatch;
  readonly #keeper: LeaseKeeper;
  readonly #publisher: Publisher;
  readonly #repairs: Repairs;
  readonly #retry: Timer;
  readonly #overlay: Overlay;
  #external: ExternalInterface;
  /** The external interface may have changed since the last check, or is missing. */
  #isInterfaceStale = false;
  /** Start of the last {@linkcode Agent.#check}, by `performance.now()`. */
  #checkedAt = -Infinity;
  /** The config that this host could not bring up, until the retry is due. */
  #refused: { readonly text: string; readonly external: ExternalInterface } | undefined;

  constructor(parts: AgentParts) {
    const metrics = this.#metrics;
    const store = observedStore(parts.store, metrics);
    this.#life = linkedSignal(parts.signal);
    const { signal } = this.#life;
    this.#parts = { ...parts, store, signal };
    const { options, netlink, external, record, former } = parts;
    this.#external = external;
    this.#watch = new InterfaceWatch({
      options: options.interface,
      chosen: external,
      netlink,
    });
    const push = (type: Signal) => () => this.#inbox.push({ type });
    this.#keeper = new LeaseKeeper({
      store,
      record,
      renewMargin: options.renewMargin,
      // Without -ip-masq this host forwards sources outside the network, which peers must not refuse.
      keepsFeature: (feature) => feature !== MASQUERADE_FEATURE || options.ipMasq,
      onDue: push("renew"),
      signal,
    });
    const damaged = (what: string) => metrics.damaged(what);
    const onFailed = (error: unknown) => this.#inbox.push({ type: "failed", error });
    this.#publisher = new Publisher({
      ...{ options, published: former, onProgress: push("firewall"), signal },
      ...{ onDamage: damaged, onFailed },
    });
    this.#repairs = new Repairs(push("repair"), damaged);
    this.#retry = new Timer(push("retry"));
    this.#overlay = new Overlay({
      ...{ options, store, netlink, signal, metrics },
      ...{ known: this.#known, keeper: this.#keeper, repairs: this.#repairs },
      publisher: this.#publisher,
      registry: parts.registry,
      formerNetwork: former.network,
      onSourcesDue: push("sources"),
      onFailed,
    });
  }

  /** A live view of the agent, for status, metrics and health. */
  get view(): AgentView {
    const { options, store } = this.#parts;
    const publisher = this.#publisher;
    const keeper = this.#keeper;
    const warnings = () => [this.#state.current, this.#connection.current, publisher.warning];
    const external = () => this.#external;
    const overlay = this.#overlay;
    return {
      name: options.networkName ?? "",
      subnetFile: options.subnetFile,
      ...{ store, known: this.#known, metrics: this.#metrics },
      get isReady() {
        return publisher.isReady;
      },
      get warnings() {
        return warnings().filter((warning) => warning !== undefined);
      },
      get external() {
        return external();
      },
      get lease() {
        return keeper.lease;
      },
      get term() {
        return keeper.term;
      },
      get active() {
        return overlay.active;
      },
      get sources() {
        return overlay.sources;
      },
    };
  }

  /**
   * Runs until the signal aborts.
   *
   * @throws the signal's reason
   * @throws {DuplicatePublicIPError} when another live host has our public IP at the start
   * @throws {SysError | FirewallError | ClashError | PrivilegeError} when the host refuses what the first start needs
   */
  async run(): Promise<never> {
    const { store, signal } = this.#parts;
    const failed = (error: unknown) => this.#inbox.push({ type: "failed", error });
    const first = await firstSnapshot(store, signal, (message) => this.#warn(message));
    this.#known.takeSnapshot(first, this.#external.publicIP);
    const onItem = (item: WatchItem) =>
      this.#inbox.push({ type: "watch", item, arrival: performance.now() });
    followStore(store, first.cursor, signal, onItem, this.#connection).catch(failed);
    await this.#metrics.handle("start", () => this.#reconcile());
    this.#watch.run(signal, () => this.#inbox.push({ type: "interface" })).catch(failed);
    for (;;) {
      const event = await this.#inbox.next(signal);
      await this.#metrics.handle(event.type, () => this.#handle(event));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#life[Symbol.dispose]();
    await this.#overlay[Symbol.asyncDispose]();
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
        if (await this.#publisher.proceed()) this.#overlay.reportStatus();
        return await this.#attempt(() => this.#announce());
      case "sources":
        return await this.#attempt(() => this.#overlay.applySourcePolicy("now"));
      case "interface":
        this.#isInterfaceStale = true;
        return await this.#reconcile();
      case "repair":
        // The kernel removes routes and neighbours together with their interface.
        this.#isInterfaceStale = true;
        this.#overlay.invalidate();
        return await this.#reconcile();
      case "retry":
        this.#refused = undefined;
        return await this.#check();
      case "renew":
        return await this.#attempt(async () => {
          if (!await this.#keeper.renew()) await this.#reconcile();
        });
      case "watch": {
        const { publicIP } = this.#external;
        const change = this.#known.take(event.item, publicIP);
        // Peers first: programming them needs no answer of the store.
        if (!isEmpty(change)) {
          await this.#attempt(() => this.#overlay.apply(change, this.#external));
        }
        await this.#attempt(() => this.#overlay.applyFeatures());
        await this.#attempt(() => this.#overlay.applySourcePolicy("delayed"));
        this.#metrics.carried(event.arrival);
        if (change.added.length > 0) await this.#attempt(() => this.#removeSurplus(change.added));
        if (this.#isSuperseded()) return;
        return await this.#check();
      }
    }
  }

  /** Returns whether the inbox holds a newer change of the store, so that one check can serve both. */
  #isSuperseded(): boolean {
    return this.#inbox.first?.type === "watch" && performance.now() - this.#checkedAt < MAX_DELAY;
  }

  /** Repairs the kernel, checks that this host still holds its record and lease, and reconciles. */
  #check(): Promise<void> {
    return this.#attempt(async () => {
      // Kernel first: its repair needs no answer of the store.
      if (!await this.#repair()) return;
      await this.#checkOwn();
      await this.#reconcile();
    }).finally(() => this.#checkedAt = performance.now());
  }

  /** Checks that this host still holds its node record and its lease. */
  async #checkOwn(): Promise<void> {
    const { active } = this.#overlay;
    const lost = await checkOwnEntries(this.#keeper, this.#known, active?.attributes);
    if (lost === undefined) return;
    warning(`lease ${lost.subnet} was revoked or changed by another writer; requesting it again`, {
      subnet: lost.subnet,
    });
  }

  async #removeSurplus(added: readonly Lease[]): Promise<void> {
    const { active } = this.#overlay;
    if (active !== undefined) await this.#keeper.removeSurplus(added, active.attributes);
  }

  /** Brings the active network in line with the store, interface and lease. Cheap when nothing differs. */
  #reconcile(): Promise<void> {
    return this.#attempt(async () => {
      if (!await this.#repair()) return;
      if (this.#keeper.identity?.publicIP === this.#external.publicIP) {
        this.#keeper.requireIdentity();
      }
      const { active } = this.#overlay;
      const { config } = this.#known;
      const isMoved = active !== undefined && active.external !== this.#external;
      if ("missing" in config) {
        if (isMoved) await this.#overlay.bringUp(active.config, this.#external);
        return this.#warn(this.#missing(config.missing));
      }
      if (isMoved || active?.config.text !== config.text || this.#overlay.isUnfinished) {
        if (!await this.#bringUp(config.text)) return;
      } else if (this.#keeper.lease === undefined) {
        info("Acquiring a lease again");
        await this.#overlay.leaseAgain();
      }
      await this.#announce();
      if (this.#state.clear()) info("recovered: no warning is left");
    });
  }

  /**
   * Brings a config's network up, unless this host has just refused it. Each attempt writes to the store,
   * and the watch would turn that write into the next attempt at once, here and on all other hosts.
   *
   * @returns false when the config waits for its retry
   */
  async #bringUp(text: string): Promise<boolean> {
    const external = this.#external;
    if (this.#refused?.text === text && this.#refused.external === external) return false;
    const config = await decodeNetworkConfig(text);
    try {
      await this.#overlay.bringUp(config, external);
    } catch (error) {
      // Only a change of the store can fix these, for example a subnet that became free.
      const isStores = error instanceof StoreError || error instanceof AcquireError;
      this.#refused = isStores ? undefined : { text, external };
      throw error;
    }
    this.#refused = undefined;
    return true;
  }

  /**
   * Reads the external interface again if it may have changed, and repairs the active network's kernel
   * objects.
   *
   * @returns false while the interface is missing
   */
  async #repair(): Promise<boolean> {
    if (this.#isInterfaceStale) {
      try {
        const seen = this.#watch.poll();
        if (seen !== this.#external) {
          warning(`The external interface has changed: ${describeChange(this.#external, seen)}`);
          // Connections from an address that is gone get no more answers.
          if (seen.address !== this.#external.address) this.#parts.store.reconnect();
        }
        this.#external = seen;
        this.#isInterfaceStale = false;
      } catch (error) {
        if (!(error instanceof InterfaceError)) throw error;
        this.#overlay.invalidate();
        this.#warn(waitingFor(error));
        return false;
      }
    }
    await this.#overlay.repair(this.#external);
    return true;
  }

  /** Returns what is wrong with the external interface: a step that it was taken from fails in many ways. */
  #missingInterface(): string | undefined {
    try {
      this.#watch.poll();
      return undefined;
    } catch (error) {
      return error instanceof InterfaceError ? waitingFor(error) : undefined;
    }
  }

  #missing(reason: string): string {
    const { options, store } = this.#parts;
    const message = `failed to retrieve network config: ${reason}`;
    return this.#overlay.active === undefined
      ? `${message}; ${describeConfigPlace(options.store, store.name)}`
      : `${message}; this host keeps its subnet, its device and the routes to peers with a lease until ` +
        "there is a config again";
  }

  /** Advertises the active network's features in the node record; packets do not wait for that. */
  async #announce(): Promise<void> {
    const { active } = this.#overlay;
    if (active === undefined || this.#keeper.lease === undefined) return;
    // Until the first attempt at the rules, those of an earlier agent are in place.
    const isMasquerading = this.#publisher.isMasquerading ??
      this.#keeper.advertises(MASQUERADE_FEATURE);
    await this.#keeper.announce([
      ...active.network.features?.() ?? [],
      ...(isMasquerading ? [MASQUERADE_FEATURE] : []),
    ]);
  }

  /** Runs a step. Logs a transient failure and plans a retry; throws other errors. */
  async #attempt(step: () => Promise<void>): Promise<void> {
    try {
      await step();
    } catch (error) {
      this.#parts.signal.throwIfAborted();
      if (error instanceof ConfigError) {
        // Another config arrives as an event; changed routes, gateways and names of this host do not.
        if (error instanceof NetworkRefusedError) this.#retry.set(HOST_RETRY);
        return this.#warn(`the network config cannot be used: ${error.message}`);
      }
      const isTransient = error instanceof StoreError || error instanceof AcquireError ||
        // Before the first network is up, exit: the operator is watching and systemd restarts the agent.
        (this.#overlay.active !== undefined && error instanceof Error);
      if (!isTransient) throw error;
      this.#warn(this.#missingInterface() ?? error.message);
      // Who writes to the store could end this host's agent for good.
      this.#retry.set(error instanceof DuplicatePublicIPError ? DISPUTE_RETRY : RETRY);
    }
  }

  #warn(message: string): void {
    this.#state.report(message);
    notifySystemd(`STATUS=${message}`);
  }
}

function waitingFor({ message }: InterfaceError): string {
  return `${message}; waiting for it`;
}
