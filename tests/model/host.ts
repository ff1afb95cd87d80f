import { StoreView } from "../../mod/agent/core/store_view.ts";
import { LeaseKeeper } from "../../mod/agent/lease/keeper.ts";
import { acquireInView, checkOwnEntries } from "../../mod/agent/lease/own_entries.ts";
import { firstSnapshot } from "../../mod/agent/core/store_feed.ts";
import type { NetworkConfig } from "../../mod/config/mod.ts";
import type { Prefix } from "../../mod/ip/mod.ts";
import type { Lease, LeaseAttributes, NodeRecord } from "../../mod/lease/mod.ts";
import { type Cursor, StoreError } from "../../mod/store/mod.ts";
import { AcquireError, DuplicatePublicIPError } from "../../mod/subnet/mod.ts";
import { vxlan } from "../../mod/store/testing/store_lab.ts";
import { ModelProcess } from "./process.ts";
import type { StoreData, StoreEvent } from "./store_data.ts";

/**
 * A host with its agent: the real LeaseKeeper, algorithms and StoreView, driven by the
 * agent's handling of events (`mod/agent/core/agent.ts`: #handle, #check, #reconcile,
 * #attempt), without kernel and backend.
 */
export class ModelHost {
  readonly name: string;
  readonly attributes: LeaseAttributes;
  readonly #data: StoreData;
  readonly #config: NetworkConfig;
  /** `FLANNEL_SUBNET` of subnet.env: in /run, so a reboot loses it. */
  env: Prefix | undefined;
  isConnected = true;
  /** The agent of now; `undefined` while none runs. */
  agent: ModelAgent | undefined;
  /** Why the last agent has ended by itself. */
  refused = false;
  #boot = 0;
  #starts = 0;

  constructor(name: string, publicIP: string, data: StoreData, config: NetworkConfig) {
    this.name = name;
    this.attributes = vxlan(publicIP, `02:00:00:00:00:0${name.charCodeAt(0) % 10}`);
    this.#data = data;
    this.#config = config;
  }

  /** Starts an agent. */
  start(): Promise<void> {
    const instance = `${this.name}${++this.#starts}`;
    this.refused = false;
    this.agent = new ModelAgent(this, this.#data, this.#config, {
      ...{ machineId: "cloned", hostname: this.name, bootId: `boot${this.#boot}`, instance },
      ...{ version: "0.1.0", started: "2026-01-02T03:04:05Z" },
    });
    return this.agent.begin("start", () => this.agent!.run());
  }

  /** Ends the agent as `kill -9` does. */
  kill(): void {
    this.agent = undefined;
  }

  /** Ends the agent, and what the host has in memory. */
  reboot(): void {
    this.kill();
    this.#boot++;
    this.env = undefined;
  }

  get state(): unknown {
    const { env, isConnected, refused, agent } = this;
    return [`${env}`, isConnected, refused, this.#boot, agent?.name, agent?.state];
  }
}

/** One run of an agent. */
export class ModelAgent extends ModelProcess {
  readonly host: ModelHost;
  readonly keeper: LeaseKeeper;
  readonly known: StoreView = new StoreView();
  readonly #config: NetworkConfig;
  readonly #signal = new AbortController().signal;
  /** Position of the watch; `undefined` before the first snapshot. */
  cursor: Cursor | undefined;
  /** The bring-up has been made once: a lost lease is taken again without it. */
  isUp = false;
  /** True when a failed step is due again. */
  isRetryPlanned = false;
  /** The lease held last. */
  last: Lease | undefined;

  constructor(host: ModelHost, data: StoreData, config: NetworkConfig, record: NodeRecord) {
    super(record.instance, data);
    this.host = host;
    this.#config = config;
    this.keeper = new LeaseKeeper({
      ...{ store: this.store, record, renewMargin: 3600, signal: this.#signal },
      onDue: () => {},
    });
  }

  get state(): unknown {
    const { keeper, known, last } = this;
    return [
      this.progress,
      [keeper.lease, last, keeper.identity, keeper.knowsFormerLease],
      [[...known.leases.values()].sort((a, b) => a.subnet.key - b.subnet.key), known.recordNews],
      [this.isUp, this.isRetryPlanned],
    ];
  }

  /** Events that the watch has yet to report. */
  get news(): readonly StoreEvent[] | "lost" {
    return this.cursor === undefined ? [] : this.store.pending(this.cursor);
  }

  get hasNews(): boolean {
    return this.news.length > 0;
  }

  /** From the start until the first lease. */
  async run(): Promise<void> {
    const { publicIP } = this.host.attributes;
    const first = await firstSnapshot(this.store, this.#signal, () => {});
    this.known.takeSnapshot(first, publicIP);
    this.cursor = first.cursor;
    await this.#attempt(() => this.#reconcile());
  }

  /** Takes what the watch reports next. */
  watch(): Promise<void> {
    const item = this.store.next(this.cursor!)!;
    const { publicIP } = this.host.attributes;
    this.cursor = item.type === "changes" ? item.cursor : item.snapshot.cursor;
    return this.begin("watch", async () => {
      const { added } = this.known.take(item, publicIP);
      if (this.isUp) await this.keeper.removeSurplus(added, this.host.attributes);
      await this.#look();
    });
  }

  /** Tries again what has failed. */
  retry(): Promise<void> {
    this.isRetryPlanned = false;
    return this.begin("retry", () => this.#look());
  }

  /** Lets the renewal become due. */
  async renew(): Promise<void> {
    await this.fireRenewal();
    await this.begin("renew", () =>
      this.#attempt(async () => {
        if (!await this.keeper.renew()) await this.#reconcile();
      }));
  }

  async #look(): Promise<void> {
    await this.#attempt(async () => {
      const { keeper, known, isUp, host } = this;
      await checkOwnEntries(keeper, known, isUp ? host.attributes : undefined);
      await this.#reconcile();
    });
  }

  async #reconcile(): Promise<void> {
    const { known, keeper, host } = this;
    if (keeper.lease !== undefined && this.isUp) return;
    if (!this.isUp) await keeper.identify(host.attributes.publicIP);
    const lease = await acquireInView(keeper, known, this.#config, host.attributes, {
      previous: host.env,
    });
    host.env = lease.subnet;
    this.isUp = true;
  }

  async #attempt(step: () => Promise<void>): Promise<void> {
    try {
      await step();
    } catch (error) {
      if (error instanceof DuplicatePublicIPError) {
        this.host.kill();
        this.host.refused = true;
      } else if (error instanceof StoreError || error instanceof AcquireError) {
        this.isRetryPlanned = true;
      } else throw error;
    }
    this.last = this.keeper.lease ?? this.last;
  }
}
