import { assert, assertEquals, assertMatch } from "@std/assert";
import { GuideCluster } from "../../lab/guide_cluster.ts";
import type { UnderlayHost } from "../../lab/lab.ts";
import { FLANNELD, type LabUnit } from "../../lab/unit.ts";
import { eventually, isFullMesh, leaseKeys, subnetOf } from "../guide.ts";

const GOOD = '{"Network": "10.20.0.0/16", "Backend": {"Type": "udp"}}';
const CORRECTED = '{"Network": "10.30.0.0/16", "Backend": {"Type": "udp"}}';

/** Configs that would cut hosts off or redirect their traffic, and the agents' errors. */
const REFUSED: readonly (readonly [config: string, complaint: RegExp])[] = [
  [
    '{"Network": "172.28.128.0/24", "Backend": {"Type": "udp"}}',
    /Network 172\.28\.128\.0\/24 contains 172\.28\.128\.10\d, this host's address on eth1; choose/,
  ],
  [
    // Without any host in it: a part of the link all the same.
    '{"Network": "172.28.128.128/25", "Backend": {"Type": "udp"}}',
    /Network 172\.28\.128\.128\/25 overlaps 172\.28\.128\.0\/24, the network of eth1; choose/,
  ],
  [
    '{"Network": "172.28.0.0/16", "SubnetMin": "172.28.128.0", "SubnetMax": "172.28.128.0"}',
    /Network 172\.28\.0\.0\/16 contains 172\.28\.128\.10\d, this host's address on eth1; choose/,
  ],
  [
    '{"Network": "10.0.0.0/8", "Backend": {"Type": "vxlan"}}',
    /Network 10\.0\.0\.0\/8 contains 10\.0\.2\.2, this host's default gateway; choose/,
  ],
  [
    '{"Network": "192.168.53.0/24", "Backend": {"Type": "vxlan"}}',
    /contains 192\.168\.53\.53, a name server of this host \(resolv\.conf\); choose/,
  ],
  [
    '{"Network": "0.0.0.0/1", "Backend": {"Type": "host-gw"}}',
    /Network 0\.0\.0\.0\/1 is larger than a \/8/,
  ],
  [
    '{"Network": "8.0.0.0/8", "Backend": {"Type": "host-gw"}}',
    /Network 8\.0\.0\.0\/8 is no private range .*-allowed-networks=8\.0\.0\.0\/8/,
  ],
  [
    '{"Network": "169.254.0.0/16"}',
    /Network 169\.254\.0\.0\/16 meets 169\.254\.0\.0\/16, which is/,
  ],
];

/** Routes, links and addresses of a host. */
async function stateOf(host: UnderlayHost): Promise<string> {
  const lines = await host.exec(["sh", "-c", "ip -4 route; ip -o link; ip -o -4 addr"]);
  return lines.replaceAll(/ +$/gm, "");
}

async function refuse(
  cluster: GuideCluster,
  units: readonly LabUnit[],
  [config, complaint]: typeof REFUSED[number],
): Promise<void> {
  const marks = units.map(({ process }) => process.mark());
  await cluster.setConfig(config);
  const line = new RegExp(`the network config cannot be used: .*${complaint.source}`);
  for (const [i, { process }] of units.entries()) {
    await process.waitFor(line, { from: marks[i]! });
  }
}

for (const api of ["v2", "v3"] as const) {
  Deno.test(`flanneld keeps its network where another would cut the host off, on etcd ${api}`, async (t) => {
    await using cluster = await GuideCluster.start({ hosts: 3, api, config: GOOD });
    const { hosts, etcd } = cluster;
    for (const host of hosts) {
      await host.writeTextFile("/etc/resolv.conf", "nameserver 192.168.53.53\n");
    }
    const units = await cluster.startAgents();
    await cluster.untilFullMesh();
    const before = await Promise.all(hosts.map(stateOf));
    const leases = await leaseKeys(etcd, api);
    for (const entry of REFUSED) {
      await t.step(entry[0], async () => {
        await refuse(cluster, units, entry);
        assertEquals(await Promise.all(hosts.map(stateOf)), before);
        assertEquals(await leaseKeys(etcd, api), leases);
        assert(await isFullMesh(hosts), "the network that was there goes on");
      });
    }

    await t.step("corrected, it is followed without a restart", async () => {
      await cluster.setConfig(CORRECTED);
      for (const host of hosts) {
        await eventually(
          `${host.name} in the new network`,
          async () => (await subnetOf(host)).startsWith("10.30."),
        );
      }
      await cluster.untilFullMesh("a full mesh in the new network");
      for (const host of hosts) assert(!(await stateOf(host)).includes("10.20."));
      assertEquals((await leaseKeys(etcd, api)).length, 3);
      assert(units.every(({ process }) => process.running));
    });
  });
}

Deno.test("flanneld that starts with a config it must refuse makes nothing, and waits for another", async () => {
  const [bad] = REFUSED[0]!;
  await using cluster = await GuideCluster.start({ hosts: 2, config: bad });
  const { hosts, etcd } = cluster;
  const before = await Promise.all(hosts.map(stateOf));
  const units: LabUnit[] = [];
  for (const host of hosts) units.push(await cluster.startAgent(host, { wait: false }));
  for (const { process } of units) await process.waitFor(REFUSED[0]![1]);
  assertEquals(await Promise.all(hosts.map(stateOf)), before);
  assertEquals(await leaseKeys(etcd, "v2"), []);

  // The other commands report the same.
  const [first] = hosts as [UnderlayHost];
  const flags = [
    `-etcd-endpoints=${etcd.endpoint}`,
    "-etcd-prefix=/flannel/network",
    "-iface=eth1",
  ];
  const plan = await first.run([FLANNELD, "plan", ...flags]);
  assertEquals(plan.code, 1);
  assertMatch(plan.stderr, REFUSED[0]![1]);
  const doctor = await first.run([FLANNELD, "doctor", ...flags]);
  assertMatch(doctor.stdout, REFUSED[0]![1]);

  await cluster.setConfig(GOOD);
  for (const unit of units) await unit.ready();
  await cluster.untilFullMesh();
});

Deno.test("flanneld takes a range that is not private where -allowed-networks has it", async () => {
  const options = "-iface=eth1 -allowed-networks=198.18.0.0/15";
  const config = '{"Network": "198.18.0.0/16", "Backend": {"Type": "vxlan"}}';
  await using cluster = await GuideCluster.start({ config, options });
  await cluster.startAgent(cluster.host);
  assertMatch(await subnetOf(cluster.host), /^198\.18\./);
  const given = (...words: string[]) =>
    cluster.host.run([FLANNELD, "config", "validate", ...words]);
  // The host's sysconfig has the flag.
  assertEquals((await given(config)).stderr, "");
  const warned = await given('{"Network": "8.0.0.0/8"}');
  assertEquals(warned.code, 0);
  assertMatch(warned.stderr, /^warning: Network 8\.0\.0\.0\/8 is no private range/);
  const refused = await given('{"Network": "224.0.0.0/8"}');
  assertEquals(refused.code, 1);
  assertMatch(refused.stderr, /Network 224\.0\.0\.0\/8 meets 224\.0\.0\.0\/4, which is multicast/);
});

Deno.test("flanneld takes no subnet that meets the host's own networks and routes", async () => {
  // Four subnets: .64 is routed elsewhere, .80 another interface's, .96 docker0's from before.
  const config = '{"Network": "10.20.0.0/24", "SubnetLen": 28, "SubnetMin": "10.20.0.64", ' +
    '"SubnetMax": "10.20.0.112", "Backend": {"Type": "vxlan"}}';
  await using cluster = await GuideCluster.start({ config: null });
  const { host, etcd } = cluster;
  for (
    const line of [
      "route add 10.20.0.64/28 via 172.28.128.254",
      "addr add 10.20.0.81/29 dev eth0",
      "link add docker0 type bridge",
      "addr add 10.20.0.97/28 dev docker0",
      "link set docker0 up",
    ]
  ) await host.exec(["ip", ...line.split(" ")]);
  const routes = await host.exec(["ip", "route"]);
  await cluster.setConfig(config);
  const { process } = await cluster.startAgent(host);
  const subnet = await subnetOf(host);
  assert(["10.20.0.97/28", "10.20.0.113/28"].includes(subnet), subnet);

  // The agent releases a lease that somebody wrote by hand, or that an older version took.
  const mark = process.mark();
  await cluster.setConfig(config.replace("10.20.0.112", "10.20.0.80"));
  await process.waitFor(
    /out of subnets: .* or cannot be used on this host: one meets 10\.20\.0\.80\/29, which an interface/,
    { from: mark },
  );
  await host.exec(["ip", "route", "del", "10.20.0.64/28"]);
  await eventually(
    "the subnet that is free now",
    async () => (await subnetOf(host)) === "10.20.0.65/28",
  );
  assertEquals(await leaseKeys(etcd, "v2"), ["10.20.0.64-28"]);
  for (const line of routes.trim().split("\n")) {
    if (line.startsWith("10.20.0.64")) continue;
    assert((await host.exec(["ip", "route"])).includes(line.trim()), line);
  }
});

Deno.test("flanneld leaves an operator's route in place, and refuses the lease that meets it", async () => {
  for (const type of ["vxlan", "host-gw"]) {
    const config = `{"Network": "10.20.0.0/16", "Backend": {"Type": "${type}"}}`;
    await using cluster = await GuideCluster.start({ hosts: 2, config });
    const { hosts: [first, second], etcd } = cluster;
    await cluster.startAgent(second!);
    const subnet = await subnetOf(second!);
    const add = `ip route add ${subnet} via 172.28.128.254`;
    await first!.exec(add.split(" "));
    const { process } = await cluster.startAgent(first!);
    const complaint = `Ignoring subnet ${subnet}: it meets the route to ${subnet} via ` +
      `172.28.128.254, which flanneld did not make`;
    await process.waitFor(complaint);
    const route = async () => (await first!.exec(["ip", "route", "show", subnet])).trim();
    assertEquals(await route(), `${subnet} via 172.28.128.254 dev eth1`);
    // Another full check changes nothing.
    await etcd.set("v2", "/flannel/network/subnets/10.20.9.0-24", "{}");
    await first!.exec(["ip", "route", "flush", "proto", "102"]);
    assertEquals(await route(), `${subnet} via 172.28.128.254 dev eth1`);
    assertEquals(process.output.split(complaint).length, 2, process.output);

    await first!.exec(["ip", "route", "del", subnet]);
    await eventually("the peer's route", async () => (await route()).includes("proto 102"));
  }
});
