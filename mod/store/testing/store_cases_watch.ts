import { assert, assertEquals } from "@std/assert";
import { StoreFollower } from "../../../tests/lab/store_follower.ts";
import type { Lease } from "../../lease/mod.ts";
import { ConflictError } from "../errors.ts";
import type { ConfigText, NetworkStore } from "../mod.ts";
import { ip, net, record, type StoreCase, vxlan } from "./store_lab.ts";

/** Cases of watches on a server that is well. */
export const watchCases: readonly StoreCase[] = [
  ["watch() yields what happens after the snapshot, in order, own writes too", async (
    { lab, prefix },
  ) => {
    await using store = await lab.open(prefix);
    await using other = await lab.open(prefix);
    const before = await other.createLease(net("10.20.9.0/24"), vxlan("192.0.2.9"), 600);
    await using follower = await StoreFollower.start(store);
    assertEquals(follower.publicIPs, { "10.20.9.0-24": "192.0.2.9" });

    const one = await store.createLease(net("10.20.1.0/24"), vxlan("192.0.2.1"), 600);
    const two = await other.createLease(net("10.20.2.0/24"), vxlan("192.0.2.2"), 600);
    const changed = await other.updateLease(two, vxlan("192.0.2.2", "02:00:00:00:00:02"), 600);
    await store.removeLease(one);
    await other.removeLease(before);
    await follower.until(({ leases }) => !leases.has("10.20.9.0-24"));

    const changes = follower.items.flatMap((item) => item.type === "changes" ? item.changes : []);
    const seen = changes.map((change) =>
      change.type === "lease"
        ? `${change.lease.subnet} ${change.lease.revision}`
        : change.type === "lease-removed"
        ? `${change.subnet} removed`
        : change.type
    );
    assertEquals(seen, [
      `10.20.1.0/24 ${one.revision}`,
      `10.20.2.0/24 ${two.revision}`,
      `10.20.2.0/24 ${changed.revision}`,
      "10.20.1.0/24 removed",
      "10.20.9.0/24 removed",
    ]);
    assertEquals(follower.leases.get("10.20.2.0-24")?.attributes, changed.attributes);
    assertEquals(follower.resyncs, 0);
    assertEquals(follower.states, []);
  }],

  ["watch() goes on from any cursor it gave, nothing twice and nothing left out", async (
    { lab, prefix },
  ) => {
    await using store = await lab.open(prefix);
    await using follower = await StoreFollower.start(store);
    const subnets = Array.from({ length: 6 }, (_, i) => net(`10.20.${i + 1}.0/24`));
    for (const subnet of subnets) await store.createLease(subnet, vxlan("192.0.2.1"), 600);
    await follower.until(({ leases }) => leases.size === 6);
    let known = 0;
    for (const item of follower.items) {
      if (item.type !== "changes") throw new Error(item.reason);
      known += item.changes.length;
      await using later = new StoreFollower(store, item.cursor);
      await later.until(({ leases }) => leases.size === 6 - known);
      assertEquals(later.leases.size, 6 - known);
      assert(later.items.every(({ type }) => type === "changes"));
    }
  }],

  ["watch() yields the expiry of a lease and of a node record", async ({ lab, prefix }) => {
    await using store = await lab.open(prefix);
    await using follower = await StoreFollower.start(store);
    await store.createLease(net("10.20.1.0/24"), vxlan("192.0.2.1"), 1);
    await store.putNodeRecord(ip("192.0.2.1"), record("host1"), 1, undefined);
    await follower.until(({ leases, agents }) => leases.size === 1 && agents.size === 1);
    assertEquals(follower.agents.get("192.0.2.1")?.record, record("host1"));
    await follower.until(({ leases, agents }) => leases.size === 0 && agents.size === 0);
    assertEquals(follower.resyncs, 0);
  }],

  ["watch() yields a config put, changed and deleted", async ({ lab, prefix }) => {
    await using store = await lab.open(prefix);
    await using follower = await StoreFollower.start(store);
    const key = `${prefix}/config`;
    await lab.put(key, '{"Network":"10.20.0.0/16"}');
    await follower.until(({ config }) => "text" in config && config.text.includes("10.20."));
    await lab.put(key, '{"Network":"10.30.0.0/16"}');
    await follower.until(({ config }) => "text" in config && config.text.includes("10.30."));
    await lab.delete(key);
    await follower.until(({ config }) => "missing" in config);
    const { config } = await store.snapshot();
    // The number at the end may differ: it is the store's position of that moment.
    const words = (config: ConfigText) => JSON.stringify(config).replace(/ \[\d+\]/, "");
    assertEquals(words(follower.config), words(config));
  }],

  ["watch() skips what cannot be read with one warning each and goes on", async (
    { lab, prefix, log },
  ) => {
    await using store = await lab.open(prefix);
    await store.createLease(net("10.20.1.0/24"), vxlan("192.0.2.1"), 600);
    await using follower = await StoreFollower.start(store);
    const bad = [
      `${prefix}/subnets/foo`,
      `${prefix}/subnets/10.20.1.0-24hi`,
      `${prefix}/agents/host`,
      `${prefix}/notes`,
    ];
    for (const key of [...bad, ...bad]) await lab.put(key, '{"PublicIP":"192.0.2.2"}');
    await lab.put(`${prefix}/subnets/10.20.2.0-24`, "hello");
    await lab.put(`${prefix}/subnets/10.20.2.0-24`, "world");
    // A lease whose value becomes unreadable is gone, as it is from a snapshot.
    await lab.put(`${prefix}/subnets/10.20.1.0-24`, "[]");
    await lab.makeEmpty(`${prefix}/subnets/bar`);
    await lab.delete(`${prefix}/subnets/foo`);
    await store.createLease(net("10.20.3.0/24"), vxlan("192.0.2.3"), 600);
    await follower.until(({ leases }) => leases.has("10.20.3.0-24"));
    assertEquals(Object.keys(follower.publicIPs), ["10.20.3.0-24"]);
    assertEquals(follower.resyncs, 0);
    const warned = log.flatMap((line) => /\] Ignoring (.*?): /.exec(line)?.[1] ?? [])
      // Whether an entry that holds nothing is worth a warning is the store's affair.
      .filter((key) => !key.endsWith("/bar"));
    assertEquals(
      warned.sort(),
      [...bad, `${prefix}/subnets/10.20.1.0-24`, `${prefix}/subnets/10.20.2.0-24`].sort(),
    );
  }],

  ["watch() answers lost history with a snapshot, changed attributes included", async (
    { lab, prefix },
  ) => {
    await using store = await lab.open(prefix);
    const [kept, changed, removed] = [
      await store.createLease(net("10.20.1.0/24"), vxlan("192.0.2.1"), 600),
      await store.createLease(net("10.20.2.0/24"), vxlan("192.0.2.2"), 600),
      await store.createLease(net("10.20.3.0/24"), vxlan("192.0.2.3"), 600),
    ];
    const { cursor } = await store.snapshot();
    const fresh = vxlan("192.0.2.2", "02:00:00:00:00:22");
    await store.updateLease(changed, fresh, 600);
    await store.removeLease(removed);
    await store.createLease(net("10.20.4.0/24"), vxlan("192.0.2.4"), 600);
    await lab.loseHistory();

    await using follower = new StoreFollower(store, cursor);
    await follower.until(({ resyncs }) => resyncs === 1);
    assertEquals(
      follower.publicIPs,
      { "10.20.1.0-24": "192.0.2.1", "10.20.2.0-24": "192.0.2.2", "10.20.4.0-24": "192.0.2.4" },
    );
    assertEquals(follower.leases.get("10.20.2.0-24")?.attributes, fresh);
    assertEquals(follower.leases.get("10.20.1.0-24")?.revision, kept.revision);

    await store.createLease(net("10.20.5.0/24"), vxlan("192.0.2.5"), 600);
    await follower.until(({ leases }) => leases.has("10.20.5.0-24"));
    assertEquals(follower.resyncs, 1);
  }],

  ["watch() sees everything gone when the directory or one above it is deleted", async (
    { lab, prefix },
  ) => {
    const network = `${prefix}/deep/network`;
    await using store = await lab.open(network);
    for (const [round, victim] of [network, `${prefix}/deep`, `${network}/subnets`].entries()) {
      await lab.put(`${network}/config`, `{"round":${round}}`);
      await store.createLease(net("10.20.1.0/24"), vxlan("192.0.2.1"), 600);
      await store.createLease(net("10.20.2.0/24"), vxlan("192.0.2.2"), 600);
      await using follower = await StoreFollower.start(store);
      assertEquals(follower.leases.size, 2);
      await lab.deleteTree(victim);
      await follower.until(({ leases }) => leases.size === 0);
      if (!victim.endsWith("/subnets")) {
        await follower.until(({ config }) => "missing" in config);
      }
      // The operator's next command.
      await lab.put(`${network}/config`, '{"Network":"10.30.0.0/16"}');
      await store.createLease(net("10.30.1.0/24"), vxlan("192.0.2.1"), 600);
      await follower.until(({ leases }) => leases.has("10.30.1.0-24"));
      await follower.until(({ config }) => "text" in config && config.text.includes("10.30."));
      await lab.deleteTree(network);
    }
  }],

  ["watch() serves two watchers of one store alike", async ({ lab, prefix }) => {
    await using store = await lab.open(prefix);
    await using one = await StoreFollower.start(store);
    await using two = await StoreFollower.start(store);
    for (let i = 1; i <= 5; i++) {
      await store.createLease(net(`10.20.${i}.0/24`), vxlan(`192.0.2.${i}`), 600);
    }
    for (const follower of [one, two]) await follower.until(({ leases }) => leases.size === 5);
    assertEquals(one.publicIPs, two.publicIPs);
  }],

  ["watch() ends at once with its signal, with its loop and with the store", async (
    { lab, prefix },
  ) => {
    const store = await lab.open(prefix);
    const { cursor } = await store.snapshot();
    await using idle = new StoreFollower(store, cursor);
    await store.createLease(net("10.20.1.0/24"), vxlan("192.0.2.1"), 600);
    await idle.until(({ leases }) => leases.size === 1);

    let started = Infinity;
    const controller = new AbortController();
    const abort = () => {
      started = performance.now();
      controller.abort(new Error("never seen"));
    };
    let items = 0;
    for await (const _ of store.watch(cursor, { signal: controller.signal })) {
      // The watch waits again by then, however long it took to begin.
      if (items++ === 0) setTimeout(abort, 100);
    }
    assertEquals(items, 1);
    assert(performance.now() - started < 1_000, "ended by its signal");

    started = performance.now();
    for await (const _ of store.watch(cursor, { signal: AbortSignal.abort() })) items++;
    for await (const _ of store.watch(cursor, { signal: new AbortController().signal })) break;
    assertEquals(items, 1);
    assert(performance.now() - started < 1_000, "ended by its loop");

    started = performance.now();
    await store[Symbol.asyncDispose]();
    await idle[Symbol.asyncDispose]();
    assert(performance.now() - started < 1_000, "ended by the store");
  }],

  ["snapshot() and watch() leave no gap between them while others write", async (
    { lab, prefix },
  ) => {
    const writers = await Promise.all(Array.from({ length: 3 }, () => lab.open(prefix)));
    const followers: StoreFollower[] = [];
    try {
      const writing = writers.map((store, i) => writeAtRandom(store, i));
      for (let i = 0; i < 4; i++) {
        followers.push(await StoreFollower.start(writers[i % writers.length]!));
        await new Promise((resolve) => setTimeout(resolve, 40));
      }
      await Promise.all(writing);
      await writers[0]!.putNodeRecord(ip("192.0.2.99"), record("last"), 600, undefined);
      const state = (leases: Iterable<Lease>) =>
        [...leases].map(({ subnet, attributes, revision }) =>
          JSON.stringify({ subnet, attributes, revision })
        ).sort();
      const final = state((await writers[0]!.snapshot()).leases);
      for (const follower of followers) {
        await follower.until(({ agents }) => agents.has("192.0.2.99"));
        assertEquals(state(follower.leases.values()), final);
      }
    } finally {
      await Promise.all([...followers, ...writers].map((one) => one[Symbol.asyncDispose]()));
    }
  }],
];

/** Creates, changes and removes leases of few subnets, often in vain. */
async function writeAtRandom(store: NetworkStore, writer: number): Promise<void> {
  for (let i = 0; i < 80; i++) {
    const subnet = net(`10.20.${Math.floor(Math.random() * 8)}.0/24`);
    const attributes = vxlan(`192.0.2.${writer}`, `02:00:00:00:00:${String(10 + i)}`);
    try {
      const lease = await store.lease(subnet);
      if (lease === undefined) await store.createLease(subnet, attributes, 600);
      else if (Math.random() < 0.5) await store.updateLease(lease, attributes, 600);
      else await store.removeLease(lease);
    } catch (error) {
      if (!(error instanceof ConflictError)) throw error;
    }
  }
}
