/** From flannel 0.7.1 to flanneld and back, pinging every 10 ms; docs/migrate-from-flannel.md. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import {
  BACKENDS,
  eventually,
  overlayAddress,
  PREFIX,
  subnetOf,
  writeSysconfig,
} from "../e2e/guide.ts";
import { stateOf } from "../e2e/host_state.ts";
import { GuideCluster } from "../lab/guide_cluster.ts";
import { Lab, type UnderlayHost } from "../lab/lab.ts";
import { LabEtcd } from "../lab/etcd/lab_etcd.ts";
import { lostReplies } from "../lab/lost_replies.ts";
import { FLANNELD, LabUnit } from "../lab/unit.ts";
import { FlannelHost, macOf, makeDocker0 } from "./flannel_host.ts";

const EVERY_10_MS = { interval: 0.01 };

/**
 * The kernel gives up a neighbour that has another MAC after 1.5 of this, in seconds, and 11 s: 45 + 5 + 6 s, where
 * nobody has changed it.
 */
const REACHABLE = 3;

const cleanup = (host: UnderlayHost, ...flags: string[]) =>
  host.run([FLANNELD, "cleanup", "-keep-device", ...flags]);

const show = (host: UnderlayHost, command: string) => host.exec(command.split(" "));

Deno.test("flannel 0.7.1 takes flanneld's place without a lost packet, and follows a new VTEP MAC", async () => {
  await using stack = new AsyncDisposableStack();
  const lab = stack.use(await Lab.start({ hosts: 3 }));
  const [other, host, renewed] = lab.hosts as [UnderlayHost, UnderlayHost, UnderlayHost];
  const etcd = stack.use(await LabEtcd.start(other));
  await etcd.set("v2", `${PREFIX}/config`, BACKENDS[0]!.config);
  const options = "-iface=eth1 -ip-masq";
  for (const one of [other, host]) await writeSysconfig(one, etcd, { options });
  stack.use(await LabUnit.start(other));
  const unit = stack.use(await LabUnit.start(host));
  const peer = stack.use(await FlannelHost.start(renewed, etcd, "v2", "10.20.177.0"));
  await peer.learn();
  const base = await overlayAddress(host);
  const gateway = await makeDocker0(host, base);
  const targets = [
    await makeDocker0(other, await overlayAddress(other)),
    await makeDocker0(renewed, peer.base),
  ];
  for (const target of targets) {
    await eventually(`a reply of ${target}`, async () => await host.ping(target) === 1);
  }
  const mac = await macOf(host);
  await show(host, `sysctl -qw net/ipv4/neigh/flannel.1/base_reachable_time_ms=${REACHABLE}000`);

  let flannel: FlannelHost | undefined;
  const handOver = async () => {
    await unit.stop();
    const before = await stateOf(host);
    const dry = await cleanup(host, "-dry-run");
    assertEquals(await stateOf(host), before);
    const done = await cleanup(host);
    assertEquals([done.code, done.stderr], [0, ""], done.stdout);
    assertMatch(done.stdout, /^added route 10\.20\.0\.0\/16 dev flannel\.1 /m);
    assertMatch(done.stdout, /^changed 2 permanent neighbours to entries that age$/m);
    assertMatch(
      done.stdout,
      /^removed route 10\.20\.177\.0\/24 via 10\.20\.177\.0 dev flannel\.1 /m,
    );
    assertMatch(done.stdout, /^removed firewall rule .*FLANNEL-POSTRTG/m);
    assertMatch(done.stdout, /^kept device flannel\.1: /m);
    assertEquals(
      done.stdout.replaceAll(/^(add|chang|remov)/gm, "would $1")
        .replaceAll(
          /^would (add|remov|chang)ed/gm,
          (_, verb) => `would ${verb === "add" ? "add" : `${verb}e`}`,
        ),
      dry.stdout,
    );
    flannel = stack.use(await FlannelHost.takeOver(host, etcd, base));
  };
  const finished = Promise.withResolvers<void>();
  const lost = await Promise.all([
    lostReplies(host, targets[0]!, () => handOver().finally(finished.resolve), EVERY_10_MS),
    lostReplies(host, targets[1]!, () => finished.promise, EVERY_10_MS),
    lostReplies(other, gateway, () => finished.promise, EVERY_10_MS),
    lostReplies(renewed, gateway, () => finished.promise, EVERY_10_MS),
  ]);
  console.log(`lost replies of pings every 10 ms, back to 0.7.1 by vxlan: ${lost.join(", ")}`);
  assertEquals(lost, [0, 0, 0, 0]);

  assertEquals(await macOf(host), mac);
  assertEquals(await show(host, "ip -4 route show proto 102"), "");
  assertEquals(await show(host, "ip -4 neigh show nud permanent dev flannel.1"), "");
  assertMatch(await show(host, "ip -4 route show dev flannel.1"), /^10\.20\.0\.0\/16 /m);
  const rules = await host.exec(["iptables-save"]);
  assert(!rules.includes("POSTRTG"), rules);
  assertMatch(rules, /^-A FLANNEL-FWD -s 10\.20\.0\.0\/16 .*-j ACCEPT$/m);
  const again = await cleanup(host);
  const steps = again.stdout.match(/^(removed|added|changed).*/gm);
  assertEquals([again.code, again.stderr, steps], [0, "", null]);

  // The trap of entries that 0.7.1 did not make.
  await peer.reboot();
  await flannel!.learn();
  await eventually(
    "the peer with its new VTEP MAC",
    async () => await host.ping(targets[1]!) === 1 && await host.ping(peer.base) === 1,
    60_000,
  );

  // And there again.
  await flannel!.stop();
  const back = await lostReplies(host, targets[0]!, async () => {
    stack.use(await LabUnit.start(host));
  }, EVERY_10_MS);
  console.log(`lost replies of pings every 10 ms, from 0.7.1 by vxlan: ${back}`);
  assertEquals(back, 0);
  assertEquals(await overlayAddress(host), base);
  assert(!/^10\.20\.0\.0\/16 /m.test(await show(host, "ip -4 route show dev flannel.1")));
});

Deno.test("flannel 0.7.1 takes over from vxlan with DirectRouting, whose peers it reaches by the device", async () => {
  const config = '{"Network": "10.20.0.0/16", "Backend": {"Type": "vxlan", "DirectRouting": true}}';
  await using cluster = await GuideCluster.start({ hosts: 2, config });
  const [host, other] = cluster.hosts as [UnderlayHost, UnderlayHost];
  const units = await cluster.startAgents();
  const base = await overlayAddress(host);
  const target = await makeDocker0(other, await overlayAddress(other));
  await eventually("a reply", async () => await host.ping(target) === 1);
  assertMatch(await show(host, "ip -4 route show proto 102"), / via \S+ dev eth1 /);
  await using stack = new AsyncDisposableStack();
  const lost = await lostReplies(host, target, async () => {
    await units[0]!.stop();
    const done = await cleanup(host);
    assertEquals([done.code, done.stderr], [0, ""]);
    stack.use(await FlannelHost.takeOver(host, cluster.etcd, base));
  }, EVERY_10_MS);
  console.log(`lost replies of pings every 10 ms, back to 0.7.1 from DirectRouting: ${lost}`);
  assertEquals(lost, 0);
  assertEquals(await show(host, "ip -4 route show proto 102"), "");
  assertMatch(
    await show(host, "bridge fdb show dev flannel.1"),
    new RegExp(`dst ${other.address} `),
  );
});

Deno.test("flannel 0.7.1 takes over flanneld's host-gw routes and back, without a lost packet", async () => {
  const { config } = BACKENDS.find(({ type }) => type === "host-gw")!;
  await using cluster = await GuideCluster.start({ hosts: 2, config });
  const [host, other] = cluster.hosts as [UnderlayHost, UnderlayHost];
  const units = await cluster.startAgents();
  const target = await makeDocker0(other, await overlayAddress(other));
  const gateway = await makeDocker0(host, await overlayAddress(host));
  await eventually("a reply", async () => await host.ping(target) === 1);
  const subnet = await subnetOf(other);
  const lost = await lostReplies(host, target, async () => {
    await units[0]!.stop();
    const done = await cleanup(host);
    assertEquals([done.code, done.stderr], [0, ""]);
    assertMatch(done.stdout, /^changed route \S+ via \S+ dev eth1 proto 102 to proto 3$/m);
  }, EVERY_10_MS);
  console.log(`lost replies of pings every 10 ms, back to 0.7.1 by host-gw: ${lost}`);
  assertEquals(lost, 0);
  assertEquals(await show(host, "ip -4 route show proto 102"), "");
  assertMatch(
    await show(host, "ip -4 route show proto boot"),
    new RegExp(`^${subnet} via ${other.address} dev eth1 *$`, "m"),
  );
  assertEquals((await cleanup(host)).stdout, "nothing to remove\n");

  // 0.7.1 finds its route, and removes it with the lease: by destination and gateway.
  const there = await lostReplies(host, target, async () => {
    await cluster.startAgent(host);
  }, EVERY_10_MS);
  console.log(`lost replies of pings every 10 ms, from 0.7.1 by host-gw: ${there}`);
  assertEquals(there, 0);
  assertEquals(await other.ping(gateway), 1);
  await host.exec(["ip", "route", "del", subnet, "via", other.address]);
});

Deno.test("flanneld's udp leaves flannel 0.7.1 the name flannel0 and no program", async () => {
  const { config } = BACKENDS.find(({ type }) => type === "udp")!;
  await using cluster = await GuideCluster.start({ hosts: 2, config });
  const [host, other] = cluster.hosts as [UnderlayHost, UnderlayHost];
  const units = await cluster.startAgents();
  const base = await overlayAddress(host);
  const target = await overlayAddress(other);
  await eventually("a reply", async () => await host.ping(target) === 1);
  await units[0]!.stop();
  const done = await cleanup(host);
  assertEquals([done.code, done.stderr], [0, ""]);
  assertMatch(done.stdout, /^removed device flannel0$/m);
  assertEquals(await show(host, "ip -4 route show proto 102"), "");
  assertEquals(await overlayAddress(host), base, "subnet.env stays");

  // As 0.7.1 makes it: the address brings the route of the whole network.
  for (
    const command of [
      "ip tuntap add dev flannel0 mode tun",
      `ip address add ${base}/16 dev flannel0`,
      "ip link set flannel0 up",
    ]
  ) await show(host, command);
  assertMatch(
    await show(host, "ip -4 route show dev flannel0"),
    /^10\.20\.0\.0\/16 proto kernel /m,
  );
  await cluster.startAgent(host);
  assertEquals(await overlayAddress(host), base);
  await eventually("a reply", async () => await host.ping(target) === 1);
});

Deno.test("flanneld cleanup refuses -keep-device with -release", async () => {
  await using lab = await Lab.start({ hosts: 1 });
  const { code, stdout, stderr } = await cleanup(lab.hosts[0]!, "-release");
  assertEquals([code, stdout], [2, ""]);
  assertMatch(stderr, /-release and -keep-device exclude each other/);
});
