import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { EtcdServer } from "../lab/etcd/etcd.ts";
import { EtcdKeys } from "../lab/etcd/etcd_keys.ts";
import { HttpProxy } from "../lab/http_proxy.ts";
import { StoreFollower } from "../lab/store_follower.ts";
import { TcpProxy } from "../lab/tcp_proxy.ts";
import { StoreError, StoreUnavailableError } from "../../mod/store/errors.ts";
import { makeEtcdV2Lab } from "../../mod/store/testing/etcd_lab.ts";
import { openEtcdV2 } from "../../mod/store/testing/open_lab.ts";
import { DEFAULT_TIMING, type WatchTiming } from "../../mod/store/etcd/v2/watch_position.ts";
import { loseInARow } from "../../mod/store/testing/lost_history_lab.ts";
import type { EtcdOptions } from "../../mod/store/options.ts";
import { storeCases } from "../../mod/store/testing/store_cases.ts";
import { net, vxlan, withoutTtl } from "../../mod/store/testing/store_lab.ts";

storeCases("etcd v2", makeEtcdV2Lab);

/** Polls that a test need not wait for. */
const QUICK: WatchTiming = {
  ...DEFAULT_TIMING,
  shortestPoll: 400,
  longestPoll: 800,
  settled: 100,
};
const PREFIX = "/flannel/network";

Deno.test("etcd v2: what proxies and members do", async (t) => {
  await using etcd = await EtcdServer.start();
  const keys = new EtcdKeys(etcd);
  let number = 0;
  const open = (
    overrides: Partial<EtcdOptions> = {},
    timing: WatchTiming = DEFAULT_TIMING,
    prefix = `/proxies/net${number++}`,
  ) => openEtcdV2({ endpoints: [etcd.endpoint], prefix, api: "v2", ...overrides }, timing);
  const isPoll = ({ url }: { url: string | URL }) => new URL(url).searchParams.has("wait");

  for (
    const [what, answer] of [
      ["answers long polls with 504", () => new Response("<h1>Timeout</h1>", { status: 504 })],
      ["ends long polls with an empty answer", () => new Response("")],
    ] as const
  ) {
    await t.step(`watch() goes on silently behind a proxy that ${what}`, async () => {
      let polls = 0;
      await using proxy = new HttpProxy(etcd.endpoint, async (request, forward) => {
        if (!isPoll(request)) return await forward(request);
        polls++;
        const { promise: late, resolve } = Promise.withResolvers<Response>();
        const timer = setTimeout(() => resolve(answer()), 600);
        try {
          return await Promise.race([buffered(forward(request)), late]);
        } finally {
          clearTimeout(timer);
        }
      });
      await using store = await open({ endpoints: [proxy.endpoint] });
      await using follower = await StoreFollower.start(store);
      await new Promise((resolve) => setTimeout(resolve, 1_600));
      assert(polls >= 3, `${polls} polls`);
      await store.createLease(net("10.20.1.0/24"), vxlan("192.0.2.1"), 600);
      await follower.until(({ leases }) => leases.size === 1);
      assertEquals(follower.states, []);
      assertEquals(follower.resyncs, 0);
    });
  }

  await t.step("watch() reports a server that ends polls at once, and backs off", async () => {
    let broken = true;
    await using proxy = new HttpProxy(
      etcd.endpoint,
      (request, forward) => broken && isPoll(request) ? new Response("") : forward(request),
    );
    await using store = await open({ endpoints: [proxy.endpoint] });
    await using follower = await StoreFollower.start(store);
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    const polls = proxy.requests.filter(isPoll).length;
    // 100, 200, 400, 800 ms, each shortened by up to half.
    assert(polls >= 2 && polls <= 8, `${polls} polls`);
    assertEquals(follower.states.length % 2, 1);
    broken = false;
    await store.createLease(net("10.20.1.0/24"), vxlan("192.0.2.1"), 600);
    await follower.until(({ leases }) => leases.size === 1);
    assertEquals(follower.states.at(-1), undefined);
  });

  await t.step("watch() finds what a connection lost that died in silence", async () => {
    await using proxy = new TcpProxy(etcd.endpoint);
    const prefix = "/proxies/halfopen";
    await using store = await open({ endpoints: [`http://${proxy.address}`] }, QUICK, prefix);
    await using direct = await open({}, QUICK, prefix);
    await using follower = await StoreFollower.start(store);
    await new Promise((resolve) => setTimeout(resolve, 100));
    proxy.silence(true);
    await direct.createLease(net("10.20.1.0/24"), vxlan("192.0.2.1"), 600);
    await new Promise((resolve) => setTimeout(resolve, 50));
    assertEquals(follower.leases.size, 0);
    proxy.silence(false);
    await follower.until(({ leases }) => leases.size === 1);
    assertEquals(follower.resyncs, 0);
  });

  await t.step("watch() does not pass over an event whose headers alone arrived", async () => {
    let swallowed = 0;
    await using proxy = new HttpProxy(etcd.endpoint, async (request, forward) => {
      if (!isPoll(request)) return await forward(request);
      const { headers, body } = await forward(request);
      if (swallowed++ > 0) return new Response(body, { headers });
      // etcd's index in the headers is past the event by now.
      await body!.cancel();
      return new Response(
        new ReadableStream({ start: (controller) => controller.enqueue(new Uint8Array()) }),
        { headers },
      );
    });
    const prefix = "/proxies/headers";
    await using store = await open({ endpoints: [proxy.endpoint] }, QUICK, prefix);
    const { cursor } = await store.snapshot();
    await store.createLease(net("10.20.1.0/24"), vxlan("192.0.2.1"), 600);
    await store.createLease(net("10.20.2.0/24"), vxlan("192.0.2.2"), 600);
    await using follower = new StoreFollower(store, cursor);
    await follower.until(({ leases }) => leases.size === 2);
    assertEquals(follower.items.length, 2);
  });

  await t.step("watch() of a quiet network outlives any traffic beside it", async () => {
    await using store = await open({}, QUICK);
    await using follower = await StoreFollower.start(store);
    for (let burst = 0; burst < 40; burst++) {
      await Promise.all(
        Array.from({ length: 30 }, (_, i) => keys.put(`/elsewhere/${i}`, `${burst}`)),
      );
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    await store.createLease(net("10.20.1.0/24"), vxlan("192.0.2.1"), 600);
    await follower.until(({ leases }) => leases.size === 1);
    assertEquals(follower.items.length, 1);
    assertEquals(follower.states, []);
  });

  await t.step(
    "watch() reads lost history again at once, and pauses where it is lost again",
    async () => {
      let isOutdated = true;
      await using proxy = new HttpProxy(etcd.endpoint, (request, forward) => {
        if (!isOutdated || !isPoll(request)) return forward(request);
        isOutdated = false;
        return Response.json({
          errorCode: 401,
          message: "The event in requested index is outdated and cleared",
          cause: "the requested history has been cleared [1007/7]",
          index: 2006,
        }, { status: 400 });
      });
      await using store = await open({ endpoints: [proxy.endpoint] });
      const { cursor } = await store.snapshot();
      const lose = () => {
        isOutdated = true;
        return Promise.resolve();
      };
      const change = () => store.createLease(net("10.20.1.0/24"), vxlan("192.0.2.1"), 600);
      await loseInARow({ store, cursor, lose, change });
    },
  );

  await t.step("watch() rejects a cursor of another store", async () => {
    await using store = await open();
    const signal = new AbortController().signal;
    const watch = store.watch("12", { signal })[Symbol.asyncIterator]();
    await assertRejects(() => watch.next(), TypeError, "cursor");
  });

  await t.step("calls pass over members that fail, and name all of them in the end", async () => {
    await using leaderless = new HttpProxy(etcd.endpoint, () =>
      Response.json({
        errorCode: 300,
        message: "Raft Internal Error",
        cause: "etcdserver: no leader",
        index: 7,
      }, { status: 500 }));
    await using gateway = new HttpProxy(
      etcd.endpoint,
      () => new Response("<html>", { status: 502 }),
    );
    const failing = [leaderless.endpoint, gateway.endpoint];
    for (let i = 0; i < 4; i++) {
      await using store = await open({ endpoints: [...failing, etcd.endpoint] });
      await store.createLease(net("10.20.1.0/24"), vxlan("192.0.2.1"), 600);
    }
    await using store = await open({ endpoints: failing });
    const { message } = await assertRejects(() => store.snapshot(), StoreUnavailableError);
    assertStringIncludes(
      message,
      "client: etcd cluster is unavailable or misconfigured; error #0: client: etcd member http://",
    );
    assertStringIncludes(
      message,
      `${leaderless.endpoint} has no leader (300: Raft Internal Error (etcdserver: no leader) [7])`,
    );
    assertStringIncludes(message, `${gateway.endpoint} returns server error [502 Bad Gateway]`);
    assert(message.includes("; error #1: ") && !message.includes("\n"), message);
  });

  await t.step("calls follow ten redirections and no eleventh", async () => {
    let left = 0;
    await using proxy = new HttpProxy(etcd.endpoint, (request, forward) => {
      if (left-- <= 0 || request.url.endsWith("/version")) return forward(request);
      return new Response(null, { status: 307, headers: { location: request.url } });
    });
    await using store = await open({ endpoints: [proxy.endpoint] });
    await store.snapshot();
    left = 10;
    const lease = await store.createLease(net("10.20.1.0/24"), vxlan("192.0.2.1"), 600);
    assertEquals(withoutTtl(await store.lease(lease.subnet)), withoutTtl(lease));
    left = 11;
    await assertRejects(() => store.snapshot(), StoreUnavailableError, "too many redirects");
  });

  await t.step("calls send credentials to the configured endpoints and nowhere else", async () => {
    await using elsewhere = new HttpProxy(etcd.endpoint, (request, forward) => forward(request));
    await using proxy = new HttpProxy(etcd.endpoint, (request) => {
      const { pathname, search } = new URL(request.url);
      const location = elsewhere.endpoint + pathname + search;
      return new Response(null, { status: 307, headers: { location } });
    });
    const credentials = { username: "flannel", password: "secret" };
    const authorizations = ({ requests }: HttpProxy) =>
      requests.filter(({ url }) => url.pathname !== "/version")
        .map(({ headers }) => headers.get("authorization"));
    {
      await using store = await open({ endpoints: [proxy.endpoint], ...credentials });
      await store.snapshot();
      assertEquals(authorizations(proxy), [`Basic ${btoa("flannel:secret")}`]);
      assertEquals(authorizations(elsewhere), [null]);
    }
    {
      const url = new URL(elsewhere.endpoint);
      url.username = "in";
      url.password = "url%";
      await using store = await open({ endpoints: [url.href] });
      await store.snapshot();
      assertEquals(authorizations(elsewhere).at(-1), `Basic ${btoa("in:url%")}`);
      assert(!store.name.includes("url%"), store.name);
    }
  });

  await t.step("snapshot() says what a prefix is that leads to a value", async () => {
    await keys.put("/a/value", "x");
    for (const prefix of ["/a/value", "/a/value/below"]) {
      await using store = await open({}, DEFAULT_TIMING, prefix);
      try {
        const { config } = await store.snapshot();
        assertStringIncludes(JSON.stringify(config), "104: Not a directory");
      } catch (error) {
        if (!(error instanceof StoreError)) throw error;
        assertStringIncludes(error.message, "104: Not a directory");
      }
    }
  });
});

Deno.test("etcd v2: what is no etcd v2", async (t) => {
  const words =
    "client: response is invalid json. The endpoint is probably not valid etcd cluster" +
    " endpoint.";
  await t.step("snapshot() says so of an etcd without the v2 API", async () => {
    await using etcd = await EtcdServer.start({ v2: false });
    await using store = await openEtcdV2({
      endpoints: [etcd.endpoint],
      prefix: PREFIX,
      api: "v2",
    });
    assertEquals(store.name, `etcd v2 at ${etcd.endpoint}, prefix ${PREFIX}`);
    for (const call of [() => store.snapshot(), () => store.lease(net("10.20.1.0/24"))]) {
      const error = await assertRejects(call, StoreError, words);
      assert(!(error instanceof StoreUnavailableError));
      assertStringIncludes(error.message, "--enable-v2");
    }
  });
  for (
    const body of [
      ...["", "{", "[]", "null", '{"hello":"world"}', "<html>", '{"node":{}', "{}}"],
      ...['{"node":null}', '{"node":{}}', '{"node":{"key":1,"modifiedIndex":1}}'],
    ]
  ) {
    await t.step(`snapshot() says so of a server that answers ${body || "nothing"}`, async () => {
      await using server = new HttpProxy("", () => new Response(body));
      await using store = await openEtcdV2({
        endpoints: [server.endpoint],
        prefix: PREFIX,
        api: "v2",
      });
      await assertRejects(() => store.snapshot(), StoreError, words);
      await assertRejects(() => store.lease(net("10.20.1.0/24")), StoreError, words);
    });
  }
});

/** The whole answer, as proxies hand it on that wait for it. */
async function buffered(response: Promise<Response>): Promise<Response> {
  const { status, headers, body } = await response;
  return new Response(await new Response(body).text(), { status, headers });
}
