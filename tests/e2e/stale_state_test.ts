import { assert, assertEquals, assertMatch } from "@std/assert";
import { GuideCluster } from "../lab/guide_cluster.ts";
import type { UnderlayHost } from "../lab/lab.ts";
import { FLANNELD, type LabUnit } from "../lab/unit.ts";
import { BACKENDS, CONFIG, eventually, PREFIX, standInForDevice } from "./guide.ts";

/** Routes, addresses and neighbours of a host that have to do with an address prefix. */
async function objectsOf(host: UnderlayHost, prefix: string): Promise<string[]> {
  const text = await host.exec([
    "sh",
    "-c",
    "ip -4 -o address; ip route; ip neighbour show nud all; ip -d link show type vxlan",
  ]);
  return text.split("\n").filter((line) => line.includes(prefix));
}

async function stopAll(units: readonly LabUnit[]): Promise<void> {
  for (const unit of units) await unit.stop();
}

for (
  const { type, from, to, device } of [
    {
      type: "vxlan",
      from: CONFIG,
      to: '{"Network": "10.30.0.0/16", "Backend": {"Type": "vxlan"}}',
      device: "flannel.1",
    },
    {
      type: "udp",
      from: '{"Network": "10.20.0.0/16"}',
      to: '{"Network": "10.30.0.0/16"}',
      device: "flannel0",
    },
  ]
) {
  Deno.test(`flanneld leaves nothing of a network that no subnet.env names any more on its device, ${type}`, async () => {
    await using cluster = await GuideCluster.start({ hosts: 2, config: from });
    const { hosts, host } = cluster;
    const units = await cluster.startAgents();
    await cluster.untilFullMesh();
    await stopAll(units);
    // The store is exchanged, and subnet.env is gone.
    await cluster.etcd.removeAll("v2", PREFIX);
    await cluster.setConfig(to);
    for (const one of hosts) await one.exec(["rm", "/run/flannel/subnet.env"]);
    assert((await objectsOf(host, "10.20.")).length > 0);

    const found = await host.run([FLANNELD, "cleanup", "-dry-run"]);
    assertMatch(
      found.stdout,
      new RegExp(`^would remove device ${device.replace(".", "\\.")}$`, "m"),
    );
    const planned = await host.run([FLANNELD, "plan"]);
    assertMatch(planned.stdout, new RegExp(`^- address 10\\.20\\.\\d+\\.0/32 dev ${device}$`, "m"));
    assertMatch(planned.stdout, new RegExp(`^- route 10\\.20\\..* dev ${device} proto 102`, "m"));

    const again = await cluster.startAgents();
    await cluster.untilFullMesh("a full mesh in the new network");
    for (const one of hosts) assertEquals(await objectsOf(one, "10.20."), []);
    assertMatch(again[0]!.process.output, /removed address 10\.20\.\d+\.0\/32 dev flannel/);
    const links = await host.exec(["ip", "-o", "link"]);
    assertEquals(links.match(/flannel[\d.]+(?=:|@)/g), [device], links);
  });
}

for (
  const { type, config } of [
    { type: "udp", config: '{"Network": "10.20.0.0/16"}' },
    { type: "vxlan", config: CONFIG },
    { type: "alloc", config: '{"Network": "10.20.0.0/16", "Backend": {"Type": "alloc"}}' },
  ]
) {
  Deno.test(`flanneld removes what host-gw left when it starts with ${type}`, async () => {
    const hostGw = BACKENDS.find(({ device }) => device === undefined)!;
    await using cluster = await GuideCluster.start({ hosts: 2, config: hostGw.config });
    const { hosts, host } = cluster;
    const units = await cluster.startAgents();
    for (const one of hosts) await standInForDevice(one, hostGw);
    await cluster.untilFullMesh();
    await stopAll(units);
    await cluster.setConfig(config);
    const isStale = /10\.20\.\d+\.0\/24 via 172\.28\.128\.101 dev eth1 proto 102/;
    assertMatch(await host.exec(["ip", "route"]), isStale);
    // An agent for another network, which is only stopped.
    const other = "10.77.2.0/24 via 172.28.128.101 dev eth1 proto 102".split(" ");
    await host.exec(["ip", "route", "add", ...other]);

    const planned = await host.run([FLANNELD, "plan"]);
    assertMatch(planned.stdout, new RegExp(`^- route ${isStale.source}$`, "m"));
    const { stdout } = await host.run([FLANNELD, "doctor"]);
    assertMatch(stdout, new RegExp(`- route ${isStale.source}`));
    const found = await host.run([FLANNELD, "cleanup", "-dry-run"]);
    assertMatch(found.stdout, new RegExp(`^would remove route ${isStale.source}$`, "m"));

    const [again] = await cluster.startAgents();
    for (const one of hosts) {
      await one.exec(["ip", "address", "flush", "dev", "lo", "scope", "global"]);
    }
    if (type !== "alloc") await cluster.untilFullMesh(`a full mesh by ${type}`);
    const routes = await host.exec(["ip", "route"]);
    assert(!isStale.test(routes), routes);
    assertMatch(routes, /10\.77\.2\.0\/24 via/);
    assertMatch(again!.process.output, new RegExp(`removed route ${isStale.source}`));
    const after = await host.run([FLANNELD, "doctor"]);
    assertMatch(
      after.stdout,
      /stale route 10\.77\.2\.0\/24 via 172\.28\.128\.101 dev eth1 proto 102/,
    );
  });
}

for (
  const { from, options, planned } of [
    { from: CONFIG, options: "-iface=eth1", planned: ["device flannel.1 "] },
    {
      from: '{"Network": "10.20.0.0/16"}',
      options: "-iface=eth1 -udp-datapath=kernel",
      planned: ["device flannel0 ", "eBPF programs of flannel0"],
    },
  ]
) {
  Deno.test(`flanneld plan names the ${planned[0]}that a start with host-gw removes`, async () => {
    await using cluster = await GuideCluster.start({ config: from, options });
    const { host } = cluster;
    await stopAll(await cluster.startAgents());
    await cluster.setConfig('{"Network": "10.20.0.0/16", "Backend": {"Type": "host-gw"}}');
    const { stdout } = await host.run([FLANNELD, "plan"]);
    for (const what of planned) {
      assert(stdout.split("\n").some((line) => line.startsWith(`- ${what}`)), stdout);
    }
    await cluster.startAgent(host);
    await eventually("no device", async () => {
      return !(await host.exec(["ip", "-o", "link"])).includes("flannel");
    });
    const after = await host.run([FLANNELD, "plan"]);
    assertMatch(after.stdout, /nothing would change/);
  });
}
