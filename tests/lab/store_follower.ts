import { formatIPv4 } from "../../mod/ip/mod.ts";
import { type Lease, leaseKey, type StoredNodeRecord } from "../../mod/lease/mod.ts";
import type { ConfigText, Cursor, NetworkStore, Snapshot, WatchItem } from "../../mod/store/mod.ts";

/**
 * Follows a store as an agent does, by a snapshot and the watch from there, and keeps what it
 * learned: both every item and the state that they add up to.
 */
export class StoreFollower implements AsyncDisposable {
  readonly items: WatchItem[] = [];
  /** Arguments of `onState`: messages of errors, `undefined` after a reconnection. */
  readonly states: (string | undefined)[] = [];
  /** By lease key. */
  readonly leases = new Map<string, Lease>();
  /** By public IP. */
  readonly agents = new Map<string, StoredNodeRecord>();
  config: ConfigText = { missing: "not read yet" };
  readonly #stop = new AbortController();
  readonly #changed = new EventTarget();
  readonly #ended: Promise<void>;
  #failure: unknown;

  /** Starts at `cursor`, knowing nothing of before. */
  constructor(store: NetworkStore, cursor: Cursor) {
    this.#ended = this.#follow(store, cursor);
  }

  /** Starts from a snapshot. */
  static async start(store: NetworkStore): Promise<StoreFollower> {
    const snapshot = await store.snapshot();
    const follower = new StoreFollower(store, snapshot.cursor);
    follower.#replace(snapshot);
    return follower;
  }

  /** Number of resyncs. */
  get resyncs(): number {
    return this.items.filter((item) => item.type === "resync").length;
  }

  /** Public IP of each lease, by key: `{ "10.20.93.0-24": "192.0.2.7" }` */
  get publicIPs(): Record<string, string> {
    return Object.fromEntries(
      [...this.leases].map(([key, lease]) => [key, formatIPv4(lease.attributes.publicIP)]),
    );
  }

  /** Waits until the condition holds. @param ms milliseconds to wait at most */
  async until(condition: (follower: this) => boolean, ms = 8_000): Promise<void> {
    const deadline = performance.now() + ms;
    while (!condition(this)) {
      if (this.#failure !== undefined) throw this.#failure;
      const left = deadline - performance.now();
      if (left <= 0) {
        throw new Error(
          `not within ${ms} ms: ${condition}\n${
            Deno.inspect(
              {
                items: this.items.slice(-10),
                states: this.states,
                config: this.config,
                publicIPs: this.publicIPs,
              },
              { depth: 8 },
            )
          }`,
        );
      }
      await new Promise<void>((resolve) => {
        const wake = () => {
          clearTimeout(timer);
          resolve();
        };
        const timer = setTimeout(wake, left);
        this.#changed.addEventListener("change", wake, { once: true });
      });
    }
  }

  /** Ends the watch and waits for its end. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#ended;
  }

  async #follow(store: NetworkStore, cursor: Cursor): Promise<void> {
    try {
      const items = store.watch(cursor, {
        signal: this.#stop.signal,
        onState: (error) => {
          this.states.push(error?.message);
          this.#changed.dispatchEvent(new Event("change"));
        },
      });
      for await (const item of items) {
        this.items.push(item);
        if (item.type === "resync") this.#replace(item.snapshot);
        else item.changes.forEach((change) => this.#apply(change));
        this.#changed.dispatchEvent(new Event("change"));
      }
    } catch (error) {
      this.#failure = error;
      this.#changed.dispatchEvent(new Event("change"));
    }
  }

  #replace(snapshot: Snapshot): void {
    this.config = snapshot.config;
    this.leases.clear();
    for (const lease of snapshot.leases) this.leases.set(leaseKey(lease.subnet), lease);
    this.agents.clear();
    for (const agent of snapshot.agents) this.agents.set(formatIPv4(agent.publicIP), agent);
  }

  #apply(change: Extract<WatchItem, { type: "changes" }>["changes"][number]): void {
    switch (change.type) {
      case "config":
        this.config = change.config;
        break;
      case "lease":
        this.leases.set(leaseKey(change.lease.subnet), change.lease);
        break;
      case "lease-removed":
        this.leases.delete(leaseKey(change.subnet));
        break;
      case "agent":
        this.agents.set(formatIPv4(change.agent.publicIP), change.agent);
        break;
      case "agent-removed":
        this.agents.delete(formatIPv4(change.publicIP));
        break;
    }
  }
}
