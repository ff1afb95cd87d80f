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
import { Deadline } from "../../store/deadline.ts";
import { type Store, StoreError, type WatchItem } from "../../store/mod.ts";
import { describeConfigPlace } from "../../store/options.ts";
import { AcquireError, DuplicatePublicIPError, isEmpty } from "../../subnet/mod.ts";
import type { Netlink } from "../../sys/mod.ts";
import type { HostRegistry } from "../host/host_registry.ts";
import { Inbox } from "./inbox.ts";
import { StoreView } from "./store_view.ts";
import { LeaseKeeper } from "../lease/keeper.ts";
import type { AgentOptions } from "./options.ts";
import { Overlay } from "./overlay.ts";
import { Publisher } from "../lease/publisher.ts";
import { Repairs } from "./repairs.ts";
import { MASQUERADE_FEATURE } from "../firewall/source_policy.ts";
import { observedStore } from "../status/store.ts";
import type { AgentView } from "../status/view.ts";
import { Vitals } from "../status/vitals.ts";
import { WarningLog } from "./warning_log.ts";
import { firstSnapshot, followStore } from "./store_feed.ts";
import { Timer } from "./timer.ts";
import { NetworkRefusedError } from "./usable_network.ts";

/** How soon what failed for want of the store, a free subnet or the kernel is tried again, in ms. */
const RETRY = 2_000;

/** Milliseconds until the agent tries a network again that this host refused. */
const HOST_RETRY = 10_000;

/**
 * How long queued changes of the store may put off the steps that follow from them, in ms. A bring-up takes
 * half a second: of 200 configs that come within 8 s the agent brings up some 15, and the last one at once.
 */
const MAX_DELAY = 1_000;

/** All that can happen to an agent. */
type AgentEvent =
  /** @property arrival as performance.now() tells it */
  | { readonly type: "watch"; readonly item: WatchItem; readonly arrival: number }
  | { readonly type: Signal }
  | { readonly type: "failed"; readonly error: unknown };

/** What is told by its kind alone. */
type Signal = "interface" | "repair" | "renew" | "firewall" | "sources" | "retry";

/** What an {@linkcode Agent} works with. */
export interface AgentParts {
  readonly options: AgentOptions;
  readonly store: Store;
  readonly netlink: Netlink;
  /** What was chosen at start; the agent follows it. */
  readonly external: ExternalInterface;
  readonly record: NodeRecord;
  /** What subnet.env said at start. */
  readonly former: PreviousSubnet;
  /** What this host's networks take. */
  readonly registry: HostRegistry;
  readonly signal: AbortSignal;
}

/**
 * The daemon: one network from its config to the kernel, for as long as the process lives.
 *
 * Everything that happens (the store's changes, timers, damage in the kernel) becomes an event in
 * one inbox. An event updates what is known; then {@linkcode Agent.#reconcile} compares that with
 * what is up and does what is missing. So start, a changed config, another address, a lost lease and
 * a deleted directory are one piece of code, and what failed is simply tried again.
 */
export class Agent implements AsyncDisposable {
  readonly #parts: AgentParts;
  /** Ends what watches on the agent's behalf, however it has ended itself: another may be begun. */
  readonly #life: Deadline;
  readonly #inbox = new Inbox<AgentEvent>();
  readonly #state = new WarningLog();
  readonly #connection = new WarningLog();
  readonly #vitals = new Vitals();
  readonly #known = new StoreView();
  readonly #watch: InterfaceWatch;
  readonly #keeper: LeaseKeeper;
  readonly #publisher: Publisher;
  readonly #repairs: Repairs;
  readonly #retry: Timer;
  readonly #overlay: Overlay;
  #external: ExternalInterface;
  /** The external interface may have changed since it was looked at, or is missing. */
  #isInterfaceStale = false;
  /** When {@linkcode Agent.#check} began last, as performance.now() returns it. */
  #checkedAt = -Infinity;
  /** What this host could not bring up, until that is due again. */
  #refused: { readonly text: string; readonly external: ExternalInterface } | undefined;

  constructor(parts: AgentParts) {
    const vitals = this.#vitals;
    const store = observedStore(parts.store, vitals);
    this.#life = new Deadline(Infinity, () => undefined, parts.signal);
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
      // Peers are not to refuse packets that this agent's host forwards as they are.
      keepsFeature: (feature) => feature !== MASQUERADE_FEATURE || options.ipMasq,
      onDue: push("renew"),
      signal,
    });
    const damaged = (what: string) => vitals.damaged(what);
    const onFailed = (error: unknown) => this.#inbox.push({ type: "failed", error });
    this.#publisher = new Publisher({
      ...{ options, published: former, onProgress: push("firewall"), signal },
      ...{ onDamage: damaged, onFailed },
    });
    this.#repairs = new Repairs(push("repair"), damaged);
    this.#retry = new Timer(push("retry"));
    this.#overlay = new Overlay({
      ...{ options, store, netlink, signal, vitals },
      ...{ known: this.#known, keeper: this.#keeper, repairs: this.#repairs },
      publisher: this.#publisher,
      registry: parts.registry,
      formerNetwork: former.network,
      onSourcesDue: push("sources"),
      onFailed,
    });
  }

  /** For whoever asks how it goes, now and later. */
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
      ...{ store, known: this.#known, vitals: this.#vitals },
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
   * @throws {DuplicatePublicIPError} when another live host has our public IP
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
    await this.#vitals.handle("start", () => this.#reconcile());
    this.#watch.run(signal, () => this.#inbox.push({ type: "interface" })).catch(failed);
    for (;;) {
      const event = await this.#inbox.next(signal);
      await this.#vitals.handle(event.type, () => this.#handle(event));
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
        // What was taken away may have gone with the interface.
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
        const change = event.item.type === "resync"
          ? this.#known.takeSnapshot(event.item.snapshot, publicIP, event.item.reason)
          : this.#known.takeChanges(event.item.changes, publicIP);
        // The peers first: they wait for nothing that the store would have to answer.
        if (!isEmpty(change)) {
          await this.#attempt(() => this.#overlay.apply(change, this.#external));
        }
        await this.#attempt(() => this.#overlay.applyFeatures());
        await this.#attempt(() => this.#overlay.applySourcePolicy("delayed"));
        this.#vitals.carried(event.arrival);
        if (change.added.length > 0) await this.#attempt(() => this.#removeSurplus(change.added));
        if (this.#isSuperseded()) return;
        return await this.#check();
      }
    }
  }

  /** Returns whether another change of the store waits, which may be applied before the steps that follow from both. */
  #isSuperseded(): boolean {
    return this.#inbox.first?.type === "watch" && performance.now() - this.#checkedAt < MAX_DELAY;
  }

  /** Looks whether what is ours still is, then whether anything is missing. */
  #check(): Promise<void> {
    return this.#attempt(async () => {
      this.#checkedAt = performance.now();
      // The kernel waits for nothing that the store would have to answer.
      if (!await this.#repair()) return;
      await this.#checkOwn();
      await this.#reconcile();
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
    const { active } = this.#overlay;
    if (held === undefined || active === undefined) return;
    if (await this.#keeper.observe(leases.get(held.subnet), active.attributes)) return;
    warning(`Lease ${held.subnet} has been revoked, or changed by someone else`, {
      subnet: held.subnet,
    });
  }

  async #removeSurplus(added: readonly Lease[]): Promise<void> {
    const { active } = this.#overlay;
    if (active !== undefined) await this.#keeper.removeSurplus(added, active.attributes);
  }

  /**
   * Does what is missing between what is known and what is up. Nothing to do costs nothing.
   */
  #reconcile(): Promise<void> {
    return this.#attempt(async () => {
      if (!await this.#repair()) return;
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
      if (this.#state.clear()) info("All is well again");
    });
  }

  /**
   * Brings a config's network up, unless this host has just refused that. What an attempt writes to the
   * store comes back as news, which would be the next attempt at once, and again at all other hosts.
   *
   * @returns false when it is left until it is due again
   */
  async #bringUp(text: string): Promise<boolean> {
    const external = this.#external;
    if (this.#refused?.text === text && this.#refused.external === external) return false;
    const config = await decodeNetworkConfig(text);
    try {
      await this.#overlay.bringUp(config, external);
    } catch (error) {
      // A store's news may well be what was waited for: a subnet that has become free.
      const isStores = error instanceof StoreError || error instanceof AcquireError;
      this.#refused = isStores ? undefined : { text, external };
      throw error;
    }
    this.#refused = undefined;
    return true;
  }

  /**
   * Takes in what became of the external interface, and puts right what the kernel is missing, as far
   * as that needs no other network.
   *
   * @returns false while there is no interface to work with
   */
  async #repair(): Promise<boolean> {
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
        this.#overlay.invalidate();
        this.#warn(`${error.message}; waiting for it`);
        return false;
      }
    }
    await this.#overlay.repair(this.#external);
    return true;
  }

  #missing(reason: string): string {
    const { options, store } = this.#parts;
    const message = `failed to retrieve network config: ${reason}`;
    return this.#overlay.active === undefined
      ? `${message}; ${describeConfigPlace(options.store, store.name)}`
      : `${message}; this host keeps its subnet and device until there is one again, and the way to each ` +
        `peer whose lease still stands`;
  }

  /** Tells the other hosts what ours takes, once it does. Our packets do not wait for the store. */
  async #announce(): Promise<void> {
    const { active } = this.#overlay;
    if (active === undefined || this.#keeper.lease === undefined) return;
    // Until this agent knows better, the rules of an earlier one are in place.
    const isMasquerading = this.#publisher.isMasquerading ??
      this.#keeper.advertises(MASQUERADE_FEATURE);
    await this.#keeper.announce([
      ...active.network.features?.() ?? [],
      ...(isMasquerading ? [MASQUERADE_FEATURE] : []),
    ]);
  }

  /** Runs a step. What may mend itself is said and tried again; the rest is thrown. */
  async #attempt(step: () => Promise<void>): Promise<void> {
    try {
      await step();
    } catch (error) {
      this.#parts.signal.throwIfAborted();
      if (error instanceof ConfigError) {
        // Another config is an event; a change of this host's routes, gateways and names is not.
        if (error instanceof NetworkRefusedError) this.#retry.set(HOST_RETRY);
        return this.#warn(`the network config cannot be used: ${error.message}`);
      }
      const passing = error instanceof StoreError || error instanceof AcquireError ||
        // Before the first network is up the operator is watching and systemd tries again.
        (this.#overlay.active !== undefined && !(error instanceof DuplicatePublicIPError) &&
          error instanceof Error);
      if (!passing) throw error;
      this.#warn(error.message);
      this.#retry.set(RETRY);
    }
  }

  #warn(message: string): void {
    this.#state.report(message);
    notifySystemd(`STATUS=${message}`);
  }
}
