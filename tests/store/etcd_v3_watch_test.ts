import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { EtcdServer } from "../lab/etcd/etcd.ts";
import { EtcdCluster } from "../lab/etcd/etcd_cluster.ts";
import { EtcdGateway } from "../lab/etcd/etcd_gateway.ts";
import { StoreFollower } from "../lab/store_follower.ts";
import { TcpProxy } from "../lab/tcp_proxy.ts";
import { openEtcdV3 } from "../../mod/store/testing/open_lab.ts";
import type { EtcdV3ClientOptions } from "../../mod/store/etcd/v3/client.ts";
import { loseInARow } from "../../mod/store/testing/lost_history_lab.ts";
import type { NetworkStore } from "../../mod/store/mod.ts";
import { net, vxlan } from "../../mod/store/testing/store_lab.ts";

const PREFIX = "/flannel/network";
const OLD_HTTP2 = Deno.version.deno.startsWith("2.4.");

function open(
  endpoints: readonly string[],
  options?: EtcdV3ClientOptions,
): Promise<NetworkStore> {
  return openEtcdV3({ endpoints, prefix: PREFIX, api: "v3" }, options);
}

function lease(number: number): readonly [key: string, value: string] {
  return [
    `${PREFIX}/subnets/10.${20 + (number >> 8)}.${number & 255}.0-24`,
    `{"PublicIP":"192.0.2.${number % 250 + 1}"}`,
  ];
}

Deno.test("watchRange() yields the deletion of a big directory as one batch", async () => {
  await using etcd = await EtcdServer.start({ v2: false });
  const gateway = new EtcdGateway(etcd);
  await gateway.putAll(Array.from({ length: 300 }, (_, i) => lease(i)));
  // The event names every key: with these in one message beyond gRPC's usual limit of 4 MB.
  const long = `${PREFIX}/notes/${"x".repeat(64_000)}`;
  for (let i = 0; i < 70; i++) await gateway.put(`${long}${i}`, "");
  await using store = await open([etcd.endpoint]);
  await using follower = await StoreFollower.start(store);
  assertEquals(follower.leases.size, 300);
  await gateway.deleteTree(PREFIX);
  await follower.until(({ leases }) => leases.size === 0);
  assertEquals(follower.items.map(({ type }) => type), ["changes"]);
  assertEquals(follower.states, []);
});

Deno.test("watchRange() keeps a quiet prefix on a busy etcd ahead of compaction", async () => {
  await using etcd = await EtcdServer.start({
    v2: false,
    flags: ["--experimental-watch-progress-notify-interval=100ms"],
  });
  const gateway = new EtcdGateway(etcd);
  const proxy = new TcpProxy(etcd.endpoint);
  await using store = await open([`http://${proxy.address}`]);
  await using follower = await StoreFollower.start(store);
  await gateway.putAll([lease(1)]);
  await follower.until(({ leases }) => leases.size === 1);
  for (let i = 0; i < 50; i++) await gateway.put("/elsewhere", `${i}`);
  // A notice or two.
  await new Promise((resolve) => setTimeout(resolve, 500));
  await gateway.compact();
  await proxy[Symbol.asyncDispose]();
  await using _ = new TcpProxy(etcd.endpoint, { port: proxy.port });
  await gateway.putAll([lease(2)]);
  await follower.until(({ leases }) => leases.size === 2);
  assertEquals(follower.resyncs, 0);
});

Deno.test("watchRange() notices a connection that was cut in silence", async () => {
  await using etcd = await EtcdServer.start({ v2: false });
  const gateway = new EtcdGateway(etcd);
  await using proxy = new TcpProxy(etcd.endpoint);
  await using store = await open([`http://${proxy.address}`], { heartbeat: 300 });
  await using follower = await StoreFollower.start(store);
  await gateway.putAll([lease(1)]);
  await follower.until(({ leases }) => leases.size === 1);
  // Idle for some heartbeats: nothing must break.
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  assertEquals(follower.states, []);

  proxy.silence(true);
  const started = performance.now();
  await gateway.putAll([lease(2)]);
  await follower.until(({ states }) => states.length === 1);
  assertStringIncludes(follower.states[0]!, "no answer within");
  assert(performance.now() - started < 1_000, "noticed within two heartbeats");
  proxy.silence(false);
  await follower.until(({ leases }) => leases.size === 2);
  assertEquals(follower.states.length, 2);
  assertEquals(follower.resyncs, 0);
});

Deno.test("watchRange() probes the watch itself, and leaves nothing behind", async () => {
  await using etcd = await EtcdServer.start({ v2: false });
  const metric = async (name: string) => {
    const text = await (await etcd.fetch("/metrics")).text();
    const line = text.split("\n").find((line) => line.startsWith(`${name} `));
    return Number(line?.split(" ")[1] ?? 0);
  };
  const received = 'grpc_server_msg_received_total{grpc_method="Watch",' +
    'grpc_service="etcdserverpb.Watch",grpc_type="bidi_stream"}';
  await using store = await open([etcd.endpoint], { heartbeat: 400 });
  await using follower = await StoreFollower.start(store);
  await new Promise((resolve) => setTimeout(resolve, 600));
  const before = await metric(received);
  await new Promise((resolve) => setTimeout(resolve, 2_400));
  const probes = (await metric(received) - before) / 2;
  assert(probes > 3 && probes < 8, `${probes} probes`);
  assert(await metric("etcd_debugging_mvcc_watcher_total") <= 2, "canceled");
  await new EtcdGateway(etcd).put(`${PREFIX}/config`, "{}");
  await follower.until(({ config }) => "text" in config);
  assertEquals(follower.items.length, 1);
  assertEquals(follower.states, []);
});

Deno.test("watchRange() catches up in order with what it missed, nothing twice", async () => {
  await using etcd = await EtcdServer.start({ v2: false });
  const gateway = new EtcdGateway(etcd);
  await using store = await open([etcd.endpoint]);
  const { cursor } = await store.snapshot();
  // Beyond the thousand revisions that etcd sends a late watcher at a time.
  for (let i = 0; i < 25; i++) {
    await gateway.putAll(Array.from({ length: 100 }, (_, j) => lease(j)));
  }
  for (let i = 0; i < 1_200; i++) await gateway.putAll([lease(i % 7)]);
  await using follower = new StoreFollower(store, cursor);
  await gateway.putAll([lease(999)]);
  await follower.until(({ leases }) => leases.size === 101);
  const revisions = follower.items.flatMap((item) =>
    item.type !== "changes"
      ? []
      : item.changes.map((change) => change.type === "lease" ? Number(change.lease.revision) : NaN)
  );
  assertEquals(revisions.length, 25 * 100 + 1_200 + 1);
  assert(revisions.every((revision, i) => i === 0 || revision >= revisions[i - 1]!));
  assertEquals(follower.resyncs, 0);
});

Deno.test("watchRange() breaks with a member that has lost its leader", {
  // Deno 2.4 keeps the handle of an HTTP/2 stream that the server has ended.
  sanitizeResources: !OLD_HTTP2,
  sanitizeOps: !OLD_HTTP2,
}, async () => {
  await using cluster = await EtcdCluster.start(3);
  const [one, two, three] = cluster.members;
  await using store = await open([three!.endpoint]);
  await using follower = await StoreFollower.start(store);
  await store.createLease(net("10.20.1.0/24"), vxlan("192.0.2.1"), 600);
  await follower.until(({ leases }) => leases.size === 1);
  // The member goes on to answer, from what it knows.
  await Promise.all([one!.kill(), two!.kill()]);
  await follower.until(({ states }) => states.length === 1, 15_000);
  assertStringIncludes(follower.states[0]!, "no leader");

  await Promise.all([one!.resume(), two!.resume()]);
  await new EtcdGateway(one!).putAll([lease(2)]);
  await follower.until(({ leases }) => leases.size === 2, 15_000);
  assertEquals(follower.states.length, 2);
  assertEquals(follower.resyncs, 0);
});

Deno.test("watchRange() takes a new snapshot when another cluster answers", async () => {
  await using before = await EtcdServer.start({ v2: false });
  await using after = await EtcdServer.start({
    v2: false,
    flags: ["--initial-cluster-token=another"],
  });
  await new EtcdGateway(before).putAll([lease(1)]);
  // Past the revision of the first, so that the number alone proves nothing.
  for (let i = 0; i < 9; i++) await new EtcdGateway(after).putAll([lease(2)]);
  const proxy = new TcpProxy(before.endpoint);
  await using store = await open([`http://${proxy.address}`]);
  await using follower = await StoreFollower.start(store);
  await new EtcdGateway(before).putAll([lease(3)]);
  await follower.until(({ leases }) => leases.size === 2);
  await proxy[Symbol.asyncDispose]();
  await using _ = new TcpProxy(after.endpoint, { port: proxy.port });
  await follower.until(({ resyncs }) => resyncs === 1);
  assertEquals(Object.keys(follower.publicIPs), ["10.20.2.0-24"]);
});

Deno.test("watchRange() reads lost history again at once, and pauses where it is lost again", async () => {
  await using etcd = await EtcdServer.start({ v2: false });
  const gateway = new EtcdGateway(etcd);
  await using store = await open([etcd.endpoint]);
  const { cursor } = await store.snapshot();
  // Past what comes next after a snapshot.
  const lose = async () => {
    await gateway.compact();
    await gateway.compact();
  };
  await lose();
  await loseInARow({ store, cursor, lose, change: () => gateway.putAll([lease(1)]) });
});
