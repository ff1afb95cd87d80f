// Observation of a running agent: endpoints, socket, `flanneld status`, log.

import { assert, assertEquals, assertMatch } from "@std/assert";
import type { AgentStatus, PeerReport } from "../../../mod/agent/status/status.ts";
import { Lab, type UnderlayHost } from "../../lab/lab.ts";
import { LabEtcd } from "../../lab/etcd/lab_etcd.ts";
import { FLANNELD, LabUnit } from "../../lab/unit.ts";
import { eventually, overlayAddress, PREFIX, subnetOf, writeSysconfig } from "../guide.ts";

const SOCKET = "/run/flannel/flanneld.sock";
const CONFIG = '{"Network": "10.20.0.0/16"}';

interface Answer {
  readonly status: number;
  readonly type: string;
  readonly body: string;
}

/** Asks an agent over TCP, from its own host. */
async function get(host: UnderlayHost, path: string): Promise<Answer> {
  const request = `GET ${path} HTTP/1.0\\r\\nHost: 127.0.0.1\\r\\n\\r\\n`;
  const text = await host.exec([
    "sh",
    "-c",
    `{ printf '${request}'; sleep 1; } | timeout 10 busybox nc 127.0.0.1 8080`,
  ]);
  const [head, ...body] = text.split("\r\n\r\n");
  return {
    status: Number(/^HTTP\/1\.\d (\d+)/.exec(head!)![1]),
    type: /^content-type: (.*)$/im.exec(head!)?.[1] ?? "",
    body: body.join("\r\n\r\n"),
  };
}

async function statusOf(host: UnderlayHost): Promise<AgentStatus> {
  const { status, body } = await get(host, "/status");
  assertEquals(status, 200);
  return JSON.parse(body);
}

/** Value of a series, by its name and the labels that it is to have. */
function series(metrics: string, name: string, labels: Record<string, string> = {}): number {
  const line = metrics.split("\n").find((line) =>
    (line.startsWith(`${name} `) || line.startsWith(`${name}{`)) &&
    Object.entries(labels).every(([label, value]) => line.includes(`${label}="${value}"`))
  );
  if (line === undefined) throw new Error(`no ${name} ${JSON.stringify(labels)} in\n${metrics}`);
  return Number(line.slice(line.lastIndexOf(" ")));
}

Deno.test("flanneld reports its state: endpoints, socket, status", async (t) => {
  await using lab = await Lab.start({ hosts: 2 });
  const [host, peer] = lab.hosts as readonly [UnderlayHost, UnderlayHost];
  await using etcd = await LabEtcd.start(peer);
  await etcd.set("v2", `${PREFIX}/config`, CONFIG);
  await writeSysconfig(peer, etcd);
  await writeSysconfig(host, etcd, {
    options: "-iface=eth1 -healthz-port=8080 -healthz-watch-bound=3",
  });
  await using stack = new AsyncDisposableStack();
  stack.use(await LabUnit.start(peer));
  const unit = stack.use(await LabUnit.start(host));
  const there = await subnetOf(peer);
  const flanneldStatus = (...args: string[]) => host.run([FLANNELD, "status", ...args]);

  await t.step("/healthz fails while etcd is frozen past the bound, and no longer", async () => {
    assertEquals((await get(host, "/healthz")).body, "flanneld is running\n");
    assertEquals((await get(host, "/readyz")).body, "flanneld is ready\n");
    etcd.process.signal("SIGSTOP");
    try {
      await eventually(
        "503 of /healthz",
        async () => (await get(host, "/healthz")).status === 503,
        40_000,
      );
      const { body } = await get(host, "/healthz");
      assertMatch(body, /^watch: the store has not been followed for \d+ s: .*\n$/);
      assertEquals((await get(host, "/readyz")).status, 200);
      const metrics = (await get(host, "/metrics")).body;
      assertEquals(series(metrics, "flanneld_watch_up"), 0);
      assertEquals(series(metrics, "flanneld_healthy"), 0);
      assert(series(metrics, "flanneld_watch_down_seconds") >= 3);
      const { code, stdout } = await flanneldStatus();
      assertEquals(code, 1);
      assertMatch(stdout, /^health {4}NOT WELL\n {10}! watch: the store has not been followed/m);
      assertMatch(stdout, /^store .*NOT\s+followed/m);
      assertEquals(await host.ping(await overlayAddress(peer)), 1);
    } finally {
      etcd.process.signal("SIGCONT");
    }
    await eventually("200", async () => (await get(host, "/healthz")).status === 200, 30_000);
  });

  await t.step("/status reports lease, peers, traffic and round-trips", async () => {
    const address = await overlayAddress(peer);
    const before = (await statusOf(host)).networks[0]!.traffic!;
    assertEquals(await host.ping(address, { count: 5, args: ["-i", "0.1"] }), 5);
    // Asked while etcd was frozen, the agent could not learn who the peer is: it asks again.
    await eventually("an ICMP echo reply of the peer, and its name", async () => {
      const [{ roundTrip, hostname }] = (await statusOf(host)).networks[0]!.peers.list as [
        PeerReport,
      ];
      return roundTrip?.lastMs != null && hostname !== null;
    });
    const status = await statusOf(host);
    assertEquals([status.statusVersion, status.ready, status.unhealthy], [1, true, []]);
    const [network, ...others] = status.networks;
    assertEquals(others, []);
    assertEquals([network!.state, network!.network, network!.config], [
      "ready",
      "10.20.0.0/16",
      CONFIG,
    ]);
    assertEquals(network!.host.publicIP, host.address);
    assertEquals(network!.backend!.device, "flannel0");
    assertEquals(network!.lease!.subnet, await subnetOf(host));
    const left = Date.parse(network!.lease!.expires!) - Date.parse(status.time);
    assert(left > 86_000_000 && left <= 86_400_000, `${left} ms`);
    assert(network!.store.watching && network!.store.calls > 0);
    const [other] = network!.peers.list;
    assertEquals([network!.peers.count, other!.subnet, other!.publicIP, other!.hostname], [
      1,
      there,
      peer.address,
      peer.name,
    ]);
    assertMatch(other!.path!, /^(kernel|user \(.*\))$/);
    assert(other!.roundTrip!.lastMs! > 0 && other!.roundTrip!.lastMs! < 1000);
    for (const traffic of [network!.traffic!, other!.traffic!]) {
      assert(traffic.sentPackets >= before.sentPackets + 5, JSON.stringify(traffic));
      assert(traffic.receivedPackets >= before.receivedPackets + 5, JSON.stringify(traffic));
      assert(traffic.sentBytes >= 5 * 84);
    }
    const short: AgentStatus = JSON.parse((await get(host, "/status?peers=0")).body);
    assertEquals([short.networks[0]!.peers.list, short.networks[0]!.peers.omitted], [[], 1]);
    assertEquals((await get(host, "/status?peers=many")).status, 400);
    assertEquals((await get(host, "/nothing")).status, 404);
  });

  await t.step("/metrics has the same, and what the agent did", async () => {
    await host.exec(["ip", "route", "del", "10.20.0.0/16"]);
    await eventually(
      "a repair that is counted",
      async () => (await statusOf(host)).networks[0]!.repairs.byKind.route === 1,
    );
    const { type, body } = await get(host, "/metrics");
    assertEquals(type, "text/plain; version=0.0.4; charset=utf-8");
    assertEquals(series(body, "flanneld_watch_up"), 1);
    assertEquals(series(body, "flanneld_peers"), 1);
    assertEquals(series(body, "flanneld_repairs_total", { kind: "route" }), 1);
    assert(series(body, "flanneld_lease_expiry_seconds") > 86_000);
    assert(series(body, "flanneld_store_call_seconds_count", { call: "createLease" }) >= 1);
    assert(series(body, "flanneld_reconcile_seconds_count", { kind: "sync" }) >= 2);
    assert(series(body, "flanneld_peer_sent_packets_total", { subnet: there }) >= 5);
    assert(series(body, "flanneld_peer_round_trip_seconds", { subnet: there }) > 0);
    assertEquals(
      series(body, "flanneld_network_info", { backend: "udp", public_ip: host.address }),
      1,
    );
  });

  await t.step("flanneld status draws a table for whoever is root", async () => {
    assertEquals((await Deno.stat(host.path(SOCKET))).mode! & 0o777, 0o600);
    const { code, stdout, stderr } = await flanneldStatus();
    assertEquals([code, stderr], [0, ""]);
    assertMatch(stdout, /^health {4}ok, ready$/m);
    assertMatch(stdout, new RegExp(`^lease {5}${await subnetOf(host)}, expires in 2[34] h`, "m"));
    assertMatch(
      stdout,
      new RegExp(`^  ${there} +${peer.address} +[\\d.]+ +\\d+% .*${peer.name}`, "m"),
    );
    assertMatch(stdout, /^store .*, followed for .* failed$/m);
    const json: AgentStatus = JSON.parse((await flanneldStatus("-json")).stdout);
    assertEquals(json.networks[0]!.peers.list[0]!.subnet, there);
    const nobody = await host.run(
      ["setpriv", "--reuid=65534", "--clear-groups", FLANNELD, "status"],
    );
    assertEquals([nobody.code, nobody.stdout], [1, ""]);
    assertEquals(
      nobody.stderr,
      `flanneld: only root may connect to ${SOCKET}: run flanneld status as root\n`,
    );
  });

  await t.step("flanneld status -watch goes on, over a restart of the agent", async () => {
    const watch = stack.use(await host.spawn([FLANNELD, "status", "-watch"]));
    await watch.waitFor(/traffic {3}sent [\d.]+ k?bit\/s, .* packets\/s/);
    // Its socket stays behind, and is replaced.
    unit.process.signal("SIGKILL");
    await unit.process.status;
    assert((await Deno.lstat(host.path(SOCKET))).isSocket);
    await watch.waitFor(
      /^no agent runs here: no process answers on \/run\/flannel\/flanneld\.sock/m,
    );
    const { code, stdout, stderr } = await flanneldStatus();
    assertEquals([code, stdout, stderr.split("\n").length], [1, "", 2]);
    const mark = watch.mark();
    const again = stack.use(await LabUnit.start(host));
    await watch.waitFor(/^health {4}ok, ready$/m, { from: mark });
    watch.signal("SIGINT");
    assertEquals((await watch.status).code, 0);
    again.process.signal("SIGTERM");
    await again.process.status;
    assertEquals(
      await Deno.lstat(host.path(SOCKET)).then(() => "there", () => "gone"),
      "gone",
    );
  });
});
