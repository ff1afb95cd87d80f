import { Inbox } from "../../mod/agent/core/inbox.ts";
import { StoreView } from "../../mod/agent/core/store_view.ts";
import { LeaseKeeper } from "../../mod/agent/lease/keeper.ts";
import { firstSnapshot } from "../../mod/agent/core/store_feed.ts";
import { Timer } from "../../mod/agent/core/timer.ts";
import { decodeNetworkConfig } from "../../mod/config/mod.ts";
import type { IPv4 } from "../../mod/ip/mod.ts";
import type { LeaseAttributes } from "../../mod/lease/mod.ts";
import { type NetworkStore, StoreError, type WatchItem } from "../../mod/store/mod.ts";
import { AcquireError } from "../../mod/subnet/mod.ts";
import type { Tally } from "./tally.ts";

/** As the agent's, in seconds: `-subnet-lease-renew-margin` in its default. */
export const RENEW_MARGIN = 3_600;

/** As `RETRY` of `mod/agent/core/agent.ts`, in milliseconds. */
const RETRY_MS = 2_000;

/** As `MAX_DELAY` of `mod/agent/core/agent.ts`, in milliseconds. */
const MAX_DELAY_MS = 1_000;

type Event = { readonly item: WatchItem } | "retry" | "renew";

/**
 * The store's side of an agent: everything that `mod/agent/core/agent.ts` does with its store, in its order,
 * and nothing with the kernel, so that it has no features to announce. The parts are the agent's own; its loop is written here again.
 */
export class FleetAgent implements Disposable {
  readonly #store: NetworkStore;
  readonly #publicIP: IPv4;
  readonly #tally: Tally;
  readonly #attributes: LeaseAttributes;
  readonly #inbox = new Inbox<Event>();
  readonly #view = new StoreView();
  readonly #keeper: LeaseKeeper;
  readonly #retry = new Timer(() => this.#inbox.push("retry"));
  readonly #signal: AbortSignal;
  #looked = -Infinity;
  #renewed: PromiseWithResolvers<void> | undefined;

  /** @param number of the agent in the fleet: makes its names and its VTEP MAC */
  constructor(
    store: NetworkStore,
    publicIP: IPv4,
    number: number,
    tally: Tally,
    signal: AbortSignal,
  ) {
    this.#store = store;
    this.#publicIP = publicIP;
    this.#tally = tally;
    this.#signal = signal;
    const octets = [24, 16, 8, 0].map((shift) =>
      ((number >>> shift) & 255).toString(16).padStart(2, "0")
    );
    this.#attributes = {
      publicIP,
      backendType: "vxlan",
      backendData: { VNI: 1, VtepMAC: `0a:58:${octets.join(":")}` },
    };
    this.#keeper = new LeaseKeeper({
      store,
      record: {
        machineId: crypto.randomUUID().replaceAll("-", ""),
        hostname: `host${number}.fleet.example`,
        bootId: crypto.randomUUID(),
        instance: crypto.randomUUID(),
        version: "0.1.0",
        started: new Date().toISOString(),
      },
      renewMargin: RENEW_MARGIN,
      onDue: () => this.#inbox.push("renew"),
      signal,
    });
  }

  /** Leases that this agent knows. */
  get leases(): number {
    return this.#view.leases.size;
  }

  /** True once the agent has a lease. */
  get isUp(): boolean {
    return this.#keeper.lease !== undefined;
  }

  /** Works until the signal aborts. */
  async run(): Promise<void> {
    const first = await firstSnapshot(this.#store, this.#signal, (why) => this.#tally.failed(why));
    this.#view.takeSnapshot(first, this.#publicIP);
    const following = this.#follow(first.cursor);
    await this.#attempt(() => this.#reconcile());
    while (!this.#signal.aborted) await this.#handle(await this.#inbox.next(this.#signal));
    await following;
  }

  /** Renews lease and node record, as the timer of the keeper does; resolves when that is done. */
  renew(): Promise<void> {
    this.#renewed = Promise.withResolvers();
    this.#inbox.push("renew");
    return this.#renewed.promise;
  }

  [Symbol.dispose](): void {
    this.#keeper[Symbol.dispose]();
    this.#retry[Symbol.dispose]();
  }

  async #follow(cursor: string): Promise<void> {
    const onState = (error: Error | undefined) => {
      if (error === undefined) this.#tally.reconnected();
      else this.#tally.failed(error.message);
    };
    for await (const item of this.#store.watch(cursor, { signal: this.#signal, onState })) {
      if (item.type === "changes") this.#tally.changed(item.changes.length);
      else this.#tally.resynced();
      this.#inbox.push({ item });
    }
  }

  async #handle(event: Event): Promise<void> {
    if (event === "renew") {
      await this.#attempt(async () => {
        if (!await this.#keeper.renew()) await this.#reconcile();
      });
      this.#renewed?.resolve();
    } else if (event === "retry") await this.#look();
    else {
      const { item } = event;
      const change = item.type === "resync"
        ? this.#view.takeSnapshot(item.snapshot, this.#publicIP)
        : this.#view.takeChanges(item.changes, this.#publicIP);
      if (change.added.length > 0) {
        await this.#attempt(() => this.#keeper.removeSurplus(change.added, this.#attributes));
      }
      const { first } = this.#inbox;
      const isSuperseded = typeof first === "object" &&
        performance.now() - this.#looked < MAX_DELAY_MS;
      if (!isSuperseded) await this.#look();
    }
  }

  #look(): Promise<void> {
    return this.#attempt(async () => {
      this.#looked = performance.now();
      const { recordNews, leases } = this.#view;
      if (recordNews !== undefined) {
        await this.#keeper.guard(recordNews.agent);
        this.#view.recordNews = undefined;
      }
      const held = this.#keeper.lease;
      if (held !== undefined) {
        await this.#keeper.observe(leases.get(held.subnet), this.#attributes);
      }
      await this.#reconcile();
    });
  }

  async #reconcile(): Promise<void> {
    const { config, leases } = this.#view;
    if ("missing" in config) throw new StoreError(config.missing);
    if (this.#keeper.lease === undefined) {
      await this.#keeper.identify(this.#publicIP);
      const lease = await this.#keeper.acquire(
        await decodeNetworkConfig(config.text),
        this.#attributes,
        undefined,
        undefined,
        { snapshot: { leases: [...leases.values()] } },
      );
      leases.apply([{ put: lease }]);
    }
  }

  async #attempt(step: () => Promise<void>): Promise<void> {
    try {
      await step();
    } catch (error) {
      this.#signal.throwIfAborted();
      if (!(error instanceof StoreError || error instanceof AcquireError)) throw error;
      this.#tally.failed(error.message);
      this.#retry.set(RETRY_MS);
    }
  }
}
