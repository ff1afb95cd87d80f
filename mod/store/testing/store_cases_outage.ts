import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { freePort } from "../../../tests/lab/etcd/etcd.ts";
import { StoreFollower } from "../../../tests/lab/store_follower.ts";
import { TcpProxy } from "../../../tests/lab/tcp_proxy.ts";
import { StoreUnavailableError } from "../errors.ts";
import { net, type ServedLab, type StoreCase, vxlan } from "./store_lab.ts";

/** Cases of a server, or a way to it, that fails. */
export const outageCases: readonly StoreCase<ServedLab>[] = [
  ["watch() goes on when the server was stopped and started, and reports both once", async (
    { lab, prefix },
  ) => {
    await using store = await lab.open(prefix);
    await using follower = await StoreFollower.start(store);
    await store.createLease(net("10.20.1.0/24"), vxlan("192.0.2.1"), 600);
    await follower.until(({ leases }) => leases.size === 1);
    await lab.stop();
    await follower.until(({ states }) => states.length > 0);
    await new Promise((resolve) => setTimeout(resolve, 700));
    await lab.resume();
    // By another connection than the watch's, which may still be waiting for its next attempt.
    await using other = await lab.open(prefix);
    await other.createLease(net("10.20.2.0/24"), vxlan("192.0.2.2"), 600);
    await follower.until(({ leases }) => leases.size === 2);
    await follower.until(({ states }) => states.length > 1);
    assertEquals(follower.states.map((error) => typeof error), ["string", "undefined"]);
    assertEquals(follower.publicIPs, { "10.20.1.0-24": "192.0.2.1", "10.20.2.0-24": "192.0.2.2" });
  }],

  ["watch() starts while the server is down and catches up with it", async ({ lab, prefix }) => {
    await using store = await lab.open(prefix);
    const { cursor } = await store.snapshot();
    await store.createLease(net("10.20.1.0/24"), vxlan("192.0.2.1"), 600);
    await lab.stop();
    await using follower = new StoreFollower(store, cursor);
    await follower.until(({ states }) => states.length === 1);
    await lab.resume();
    await follower.until(({ leases }) => leases.size === 1);
  }],

  ["watch() goes on through a proxy that cuts idle connections", async ({ lab, prefix }) => {
    await using proxy = new TcpProxy(lab.endpoint, { idleTimeout: 1_000 });
    await using store = await lab.open(prefix, { endpoints: [`http://${proxy.address}`] });
    await using direct = await lab.open(prefix);
    await using follower = await StoreFollower.start(store);
    for (let i = 1; i <= 2; i++) {
      await new Promise((resolve) => setTimeout(resolve, 1_700));
      await direct.createLease(net(`10.20.${i}.0/24`), vxlan(`192.0.2.${i}`), 600);
      await follower.until(({ leases }) => leases.size === i);
    }
    assert(proxy.cuts > 0);
    assertEquals(follower.resyncs, 0);
  }],

  ["watch() takes another endpoint when its own goes away", async ({ lab, prefix }) => {
    await using last = new TcpProxy(lab.endpoint);
    const first = new TcpProxy(lab.endpoint);
    const endpoints = [`http://${first.address}`, `http://${last.address}`];
    await using store = await lab.open(prefix, { endpoints });
    await using follower = await StoreFollower.start(store);
    await store.createLease(net("10.20.1.0/24"), vxlan("192.0.2.1"), 600);
    await follower.until(({ leases }) => leases.size === 1);
    await first[Symbol.asyncDispose]();
    await store.createLease(net("10.20.2.0/24"), vxlan("192.0.2.2"), 600);
    await follower.until(({ leases }) => leases.size === 2);
    assertEquals(follower.resyncs, 0);
  }],

  ["reconnect() leaves connections that answer no more, and what waits for them", async (
    { lab, prefix },
  ) => {
    await using proxy = new TcpProxy(lab.endpoint);
    await using store = await lab.open(prefix, { endpoints: [`http://${proxy.address}`] });
    await using direct = await lab.open(prefix);
    await using follower = await StoreFollower.start(store);
    await store.createLease(net("10.20.1.0/24"), vxlan("192.0.2.1"), 600);
    await follower.until(({ leases }) => leases.size === 1);
    // As when the address is gone that the connections come from.
    proxy.silence(true);
    const waiting = assertRejects(() => store.snapshot(), StoreUnavailableError);
    await direct.createLease(net("10.20.2.0/24"), vxlan("192.0.2.2"), 600);
    await new Promise((resolve) => setTimeout(resolve, 700));
    proxy.silence(false);
    assertEquals(follower.leases.size, 1);
    const started = performance.now();
    store.reconnect();
    await waiting;
    assertEquals((await store.snapshot()).leases.length, 2);
    await follower.until(({ leases }) => leases.size === 2);
    const took = performance.now() - started;
    assert(took < 2_000, `${took} ms`);
    assertEquals(follower.resyncs, 0);
  }],

  ["watch() takes a new snapshot when the server's data were replaced", async (
    { lab, prefix },
  ) => {
    await using store = await lab.open(prefix);
    for (let i = 1; i <= 9; i++) {
      await store.createLease(net(`10.20.${i}.0/24`), vxlan(`192.0.2.${i}`), 600);
    }
    await using follower = await StoreFollower.start(store);
    assertEquals(follower.leases.size, 9);
    await lab.wipe();
    await follower.until(({ leases }) => leases.size === 0);
    await using other = await lab.open(prefix);
    await other.createLease(net("10.20.99.0/24"), vxlan("192.0.2.99"), 600);
    await follower.until(({ leases }) => leases.has("10.20.99.0-24"));
    assertEquals(Object.keys(follower.publicIPs), ["10.20.99.0-24"]);
  }],

  ["calls give up with the signal's reason when nobody answers", async ({ lab, prefix }) => {
    await using store = await lab.open(prefix);
    await store.snapshot();
    const reason = new Error("enough");
    const subnet = net("10.20.93.0/24");
    await lab.freeze(true);
    try {
      for (
        const call of [
          (signal: AbortSignal) => store.snapshot({ signal }),
          (signal: AbortSignal) => store.lease(subnet, { signal }),
          (signal: AbortSignal) => store.createLease(subnet, vxlan("192.0.2.1"), 9, { signal }),
        ]
      ) {
        const controller = new AbortController();
        setTimeout(() => controller.abort(reason), 100);
        const started = performance.now();
        assertEquals(await assertRejects(() => call(controller.signal)), reason);
        assert(performance.now() - started < 1_000);
      }
    } finally {
      await lab.freeze(false);
    }
  }],

  ["calls try every endpoint before they reject with StoreUnavailableError", async (
    { lab, prefix },
  ) => {
    const dead = [`http://127.0.0.1:${freePort()}`, `http://127.0.0.1:${freePort()}`];
    for (let i = 0; i < 4; i++) {
      await using store = await lab.open(prefix, { endpoints: [...dead, lab.endpoint] });
      await store.snapshot();
    }
    await using lost = await lab.open(prefix, { endpoints: dead });
    for (
      const call of [
        () => lost.snapshot(),
        () => lost.createLease(net("10.20.1.0/24"), vxlan("192.0.2.1"), 600),
      ]
    ) {
      const { message } = await assertRejects(call, StoreUnavailableError);
      for (const endpoint of dead) assertStringIncludes(message, new URL(endpoint).host);
      assert(!message.includes("\n"), message);
    }
  }],
];
