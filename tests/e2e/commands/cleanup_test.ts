import { assert, assertEquals, assertMatch } from "@std/assert";
import { GuideCluster } from "../../lab/guide_cluster.ts";
import { Lab, type UnderlayHost } from "../../lab/lab.ts";
import type { EtcdApi } from "../../lab/etcd/lab_etcd.ts";
import { FLANNELD, LabUnit } from "../../lab/unit.ts";
import { BACKENDS, CONFIG, eventually, leaseKeys, PREFIX, subnetOf } from "../guide.ts";
import { stateOf } from "../host_state.ts";

const HOST_GW = '{"Network": "10.20.0.0/16", "Backend": {"Type": "host-gw"}}';

/** Each backend, each on one of etcd's APIs, and the firewall by each tool. */
const CASES: readonly { type: string; config: string; api: EtcdApi; options: string }[] = [
  { type: "vxlan", config: CONFIG, api: "v2", options: "-iface=eth1 -ip-masq -firewall=iptables" },
  {
    type: "udp",
    config: BACKENDS[1]!.config,
    api: "v3",
    options: "-iface=eth1 -ip-masq -firewall=nftables -udp-datapath=kernel",
  },
  { type: "host-gw", config: HOST_GW, api: "v2", options: "-iface=eth1" },
];

/** Objects on a host before the agent, many of them similar to flanneld's. */
const FOREIGN = `
ip link add flannel.7 type vxlan id 7 dev eth1 local 172.28.128.100 dstport 4789 2>/dev/null ||
  ip link add flannel.7 type vxlan id 7 dev eth1 dstport 4789
ip address add 10.77.1.0/32 dev flannel.7
ip link set flannel.7 up
ip route add 10.77.2.0/24 dev flannel.7 proto 102
ip route add 192.0.2.0/24 dev eth1 proto 102
ip route add 10.20.250.0/24 dev eth1 proto static
ip tuntap add dev tun7 mode tun
iptables -P FORWARD DROP
iptables -A FORWARD -s 10.20.0.0/16 -i docker0 -j ACCEPT
iptables -t nat -A POSTROUTING -s 10.20.0.0/16 -o tun7 -j MASQUERADE
nft add table inet site
nft add chain inet site guard '{ type filter hook forward priority 5; policy accept; }'
mkdir -p /run/flannel/networks
echo 'FLANNEL_SUBNET=10.77.1.1/24' > /run/flannel/networks/other.env
echo 'DOCKER_OPTS="--bip=10.9.9.1/24"' > /run/docker_opts.env
`;

function cleanup(host: UnderlayHost, ...flags: string[]) {
  return host.run([FLANNELD, "cleanup", ...flags]);
}

for (const { type, config, api, options } of CASES) {
  Deno.test(`flanneld cleanup leaves a host as it was before ${type}, on etcd ${api}`, async () => {
    await using cluster = await GuideCluster.start({ hosts: 2, etcdOn: 1, api, config, options });
    const { etcd } = cluster;
    const [here, there] = cluster.hosts as [UnderlayHost, UnderlayHost];
    await here.exec(["sh", "-e", "-c", FOREIGN]);
    // iptables makes its tables when it is first asked, and raw for a rule.
    const tables = "iptables -S; iptables -t nat -S; " +
      "for letter in A D; do iptables -t raw -$letter PREROUTING -j ACCEPT; done";
    await here.exec(["sh", "-e", "-c", tables]);
    const before = await stateOf(here);

    const peer = await cluster.startAgent(there);
    const agent = await cluster.startAgent(here);
    const subnet = await subnetOf(here);
    await eventually("a route to the peer", async () => {
      const routes = await here.exec(["ip", "route", "show", "proto", "102"]);
      return routes.includes(type === "udp" ? "10.20.0.0/16" : await subnetOf(there));
    });

    // An agent that runs is not to lose its network.
    const running = await stateOf(here);
    for (const flags of [[], ["-dry-run"], ["-release"]]) {
      const refused = await cleanup(here, ...flags);
      assertEquals(refused.code, 1);
      assertMatch(
        refused.stderr,
        /^flanneld: flanneld \(pid \d+\) holds the lock of subnet file [^\n]+\n$/,
      );
      assertEquals(refused.stdout, "");
    }
    const pid = /pid (\d+)/.exec((await cleanup(here)).stderr)![1]!;
    assertMatch(await here.readTextFile(`/proc/${pid}/cmdline`), /flanneld/);
    assertEquals(await stateOf(here), running);
    await agent.stop();

    const left = await stateOf(here);
    const dry = await cleanup(here, "-dry-run");
    assertEquals(dry.code, 0, dry.stderr);
    const json = JSON.parse((await cleanup(here, "-dry-run", "-json")).stdout);
    assertEquals([json.version, json.dryRun, json.errors], [1, true, []]);
    assertEquals(
      json.changes.map(({ action, object }: { action: string; object: string }) =>
        `would ${action} ${object}`
      ),
      dry.stdout.split("\n").filter((line) => line.startsWith("would ")),
    );
    assertEquals(await stateOf(here), left);

    const done = await cleanup(here);
    assertEquals(done.stderr, "");
    assertEquals(done.code, 0);
    assertEquals(done.stdout.replaceAll("removed ", "would remove "), dry.stdout);
    assertMatch(done.stdout, /^removed file \/run\/flannel\/docker$/m);
    assertMatch(done.stdout, /^removed file \/run\/flannel\/subnet\.env$/m);
    assertMatch(done.stdout, /^removed firewall rule (iptables|nft) /m);
    assertMatch(
      done.stdout,
      type === "host-gw" ? /^removed route 10\.20\.\S+ via /m : /^removed device flannel[.01]+$/m,
    );
    assertMatch(done.stdout, /^kept file \/run\/docker_opts.env: /m);
    assertEquals(/^removed eBPF programs of flannel0$/m.test(done.stdout), type === "udp");
    assertEquals(await stateOf(here), before);

    const again = await cleanup(here);
    assertEquals([again.code, again.stdout, again.stderr], [0, "nothing to remove\n", ""]);
    assertEquals(await stateOf(here), before);

    // The lease is still this host's, and it comes back to it.
    assert((await leaseKeys(etcd, api)).includes(subnet.replace("/", "-")));
    const next = await cluster.startAgent(here);
    assertEquals(await subnetOf(here), subnet);
    await next.stop();
    const released = await cleanup(here, "-release");
    assertEquals(released.code, 0, released.stderr);
    assertMatch(released.stdout, new RegExp(`^removed lease ${subnet} in etcd ${api}`, "m"));
    assertEquals(await stateOf(here), before);
    assertEquals(await leaseKeys(etcd, api), [(await subnetOf(there)).replace("/", "-")]);
    assertEquals((await cluster.agentKeys()).length, 1);
    await peer.process.waitFor(/Subnet removed/);
    const twice = await cleanup(here, "-release");
    assertEquals([twice.code, twice.stdout], [0, "nothing to remove\n"]);
  });
}

Deno.test("flanneld cleanup without etcd cleans the host, and with -release removes nothing", async () => {
  await using cluster = await GuideCluster.start();
  const { host, etcd } = cluster;
  await (await cluster.startAgent(host)).stop();
  await etcd.stop();

  const left = await stateOf(host);
  const refused = await cleanup(host, "-release");
  assertEquals(refused.code, 1);
  assertEquals(refused.stderr.trim().split("\n").length, 1, refused.stderr);
  assertMatch(refused.stderr, /etcd/);
  assertEquals(await stateOf(host), left);

  const done = await cleanup(host);
  assertEquals([done.code, done.stderr], [0, ""]);
  const state = await stateOf(host);
  assert(!/flannel/i.test(state), state);
  // Neither subnet.env nor a store: nothing to be found, and no failure.
  const again = await cleanup(host);
  assertEquals([again.code, again.stdout], [0, "nothing to remove\n"]);
});

Deno.test("flanneld cleanup -release keeps what is not this host's: a reservation, another host's lease", async () => {
  await using cluster = await GuideCluster.start();
  const { host, etcd } = cluster;
  const unit = await cluster.startAgent(host);
  const [key] = await leaseKeys(etcd, "v2");
  await unit.stop();
  const lease = `${PREFIX}/subnets/${key}`;
  const value = (await etcd.get("v2", lease))!;

  await etcd.set("v2", lease, value);
  const reserved = await cleanup(host, "-release");
  assertEquals(reserved.code, 1);
  assertMatch(reserved.stdout, /^kept lease \S+: it has no lifetime, so it is a reservation$/m);
  assertEquals(await leaseKeys(etcd, "v2"), [key]);

  const again = await cluster.startAgent(host);
  await again.stop();
  const [agent] = await etcd.keys("v2", `${PREFIX}/agents`);
  const record = JSON.parse((await etcd.get("v2", agent!))!);
  await etcd.set(
    "v2",
    agent!,
    JSON.stringify({ ...record, hostname: "other", machineId: "0".repeat(32) }),
  );
  const foreign = await cleanup(host, "-release");
  assertEquals(foreign.code, 1);
  assertMatch(foreign.stdout, /^kept lease of public IP \S+: its holder is host other$/m);
  assertEquals(await leaseKeys(etcd, "v2"), [key]);
});

Deno.test("flanneld cleanup -release without the agent's -iface goes by subnet.env", async () => {
  await using cluster = await GuideCluster.start();
  const { host, etcd } = cluster;
  await (await cluster.startAgent(host)).kill();
  const [key] = await leaseKeys(etcd, "v2");
  const [agent] = await etcd.keys("v2", `${PREFIX}/agents`);
  const lease = `${PREFIX}/subnets/${key}`;
  const value = (await etcd.get("v2", lease))!;
  const record = (await etcd.get("v2", agent!))!;

  // Taken over by a host without a node record: neither address nor record identifies this host.
  const foreign = JSON.stringify({ ...JSON.parse(value), PublicIP: "172.28.128.250" });
  await etcd.set("v2", lease, foreign);
  const left = await stateOf(host);
  const refused = await cleanup(host, "-release", "-iface=eth0");
  assertEquals([refused.code, refused.stdout], [1, ""], refused.stderr);
  assertMatch(
    refused.stderr,
    /no lease of 10\.0\.2\.15; subnet\.env has \S+\/24, which is leased to /,
  );
  assertMatch(refused.stderr, /give the -iface/);
  assertEquals(await stateOf(host), left);

  await etcd.ctl("v2", ["set", "--ttl", "600", lease, value]);
  assertEquals(await etcd.get("v2", agent!), record);
  const done = await cleanup(host, "-release", "-iface=eth0");
  assertEquals([done.code, done.stderr], [
    0,
    "using other options than the agent's: -iface=eth0 (the agent: -iface=eth1)\n",
  ]);
  assertMatch(done.stdout, /^removed lease \S+ in etcd v2/m);
  assertMatch(done.stdout, /^removed node record of 172\./m);
  assertEquals(await leaseKeys(etcd, "v2"), []);
  assertEquals(await cluster.agentKeys(), []);
  // The socket of an agent that was killed goes, too.
  assertEquals((await host.run(["ls", "-A", "/run/flannel"])).stdout, "");
});

Deno.test("flanneld keeps a second agent off its subnet file", async () => {
  await using cluster = await GuideCluster.start();
  const { host } = cluster;
  const first = await cluster.startAgent(host);
  const second = await LabUnit.start(host, { wait: false });
  assertEquals((await second.process.status).code, 1);
  assertMatch(second.process.output, /flanneld \(pid \d+\) holds the lock of subnet file/);
  assert(first.process.running);
  await first.kill();
  await cluster.startAgent(host);
});

Deno.test("flanneld cleanup refuses a command line that it cannot use", async () => {
  await using lab = await Lab.start({ hosts: 1 });
  const host = lab.hosts[0]!;
  for (const flags of [["-relase"], ["now"], ["-subnet-file="], ["-sysconfig=/no/such"]]) {
    const { code, stdout, stderr } = await cleanup(host, ...flags);
    assertEquals([code, stdout], [flags[0]!.startsWith("-sysconfig") ? 1 : 2, ""], stderr);
    assert(!stderr.includes("defect"), stderr);
  }
});
