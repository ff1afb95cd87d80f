import { assert, assertEquals, assertMatch, assertNotMatch } from "@std/assert";
import { GuideCluster } from "../lab/guide_cluster.ts";
import type { UnderlayHost } from "../lab/lab.ts";
import { CONFIG, eventually, leaseKeys, overlayAddress, PREFIX, subnetOf } from "./guide.ts";

/** The recipe's new config, and the other way round. */
const CHANGES = [
  {
    name: "vxlan to vxlan",
    from: CONFIG,
    to: '{"Network": "10.30.0.0/16", "Backend": {"Type": "vxlan"}}',
    device: "flannel.1",
    gone: undefined,
  },
  {
    name: "udp to vxlan",
    from: '{"Network": "10.20.0.0/16"}',
    to: '{"Network": "10.30.0.0/16", "Backend": {"Type": "vxlan"}}',
    device: "flannel.1",
    gone: "flannel0",
  },
  {
    name: "vxlan to udp",
    from: CONFIG,
    to: '{"Network": "10.30.0.0/16"}',
    device: "flannel0",
    gone: "flannel.1",
  },
  {
    name: "udp to another port",
    from: '{"Network": "10.20.0.0/16"}',
    to: '{"Network": "10.30.0.0/16", "Backend": {"Type": "udp", "Port": 8286}}',
    device: "flannel0",
    gone: undefined,
  },
  {
    name: "vxlan to host-gw",
    from: CONFIG,
    to: '{"Network": "10.30.0.0/16", "Backend": {"Type": "host-gw"}}',
    device: undefined,
    gone: "flannel.1",
  },
  {
    name: "vxlan with direct routes to host-gw, in the same network",
    from: '{"Network": "10.30.0.0/16", "Backend": {"Type": "vxlan", "DirectRouting": true}}',
    to: '{"Network": "10.30.0.0/16", "Backend": {"Type": "host-gw"}}',
    device: undefined,
    gone: "flannel.1",
  },
  {
    name: "host-gw to vxlan",
    from: '{"Network": "10.20.0.0/16", "Backend": {"Type": "host-gw"}}',
    to: '{"Network": "10.30.0.0/16", "Backend": {"Type": "vxlan"}}',
    device: "flannel.1",
    gone: undefined,
  },
  {
    name: "host-gw to udp, in the same network",
    from: '{"Network": "10.30.0.0/16", "Backend": {"Type": "host-gw"}}',
    to: '{"Network": "10.30.0.0/16"}',
    device: "flannel0",
    gone: "via 172.28.128.10",
  },
];

/** Gives hosts an address in each network that stands for a container's, for a network without a device. */
async function giveAddresses(hosts: readonly UnderlayHost[]): Promise<void> {
  for (const host of hosts) {
    await host.exec(["ip", "addr", "replace", `${await overlayAddress(host)}/32`, "dev", "lo"]);
  }
}

/**
 * The first change on both APIs, the others in turn: what a backend removes does not depend on the store. Nor does it
 * on the number of peers, so a third host is in the first case alone.
 */
const CASES = [
  { api: "v3", change: CHANGES[0]!, count: 3 },
  ...CHANGES.map((change, i) => ({ api: i % 2 === 0 ? "v2" : "v3", change, count: 2 }) as const),
] as const;

for (const { api, change, count } of CASES) {
  const { name, from, to, device, gone } = change;
  Deno.test(`flanneld follows the guide's CIDR change, ${name}, on etcd ${api}`, async () => {
    await using cluster = await GuideCluster.start({ hosts: count, api, config: from });
    const { hosts, etcd } = cluster;
    const units = await cluster.startAgents();
    const isHostGw = (config: string) => config.includes("host-gw");
    if (isHostGw(from)) await giveAddresses(hosts);
    await cluster.untilFullMesh();

    await etcd.removeAll(api, PREFIX);
    for (const unit of units) {
      await unit.process.waitFor(/this host keeps its subnet, its device and the routes/);
    }
    const marks = units.map(({ process }) => process.mark());
    await cluster.setConfig(to);
    for (const [i, { process }] of units.entries()) {
      await process.waitFor(/Wrote subnet file/, { from: marks[i]! });
    }
    for (const host of hosts) {
      await eventually(
        `${host.name} in the new network`,
        async () => (await subnetOf(host)).startsWith("10.30."),
      );
    }
    for (const host of isHostGw(from) ? hosts : []) {
      await host.exec(["ip", "addr", "flush", "dev", "lo", "scope", "global"]);
    }
    if (isHostGw(to)) await giveAddresses(hosts);
    await cluster.untilFullMesh("a full mesh in the new network");

    assertEquals((await leaseKeys(etcd, api)).length, count);
    for (const [i, host] of hosts.entries()) {
      // Nothing of the old network is left: neither address nor route, neighbour or FDB entry.
      const everything = await host.exec([
        "sh",
        "-c",
        (device === undefined
          ? ""
          : `ip -4 addr show dev ${device}; ip neigh show nud all dev ${device}; `) +
        "ip route; ip link",
      ]);
      assert(!everything.includes("10.20."), everything);
      assert(gone === undefined || !everything.includes(gone), everything);
      const { output } = units[i]!.process;
      assertMatch(output, /Network config changed/);
      assertMatch(output, /Lease acquired: 10\.30\./);
      // Nobody but the agent touched the kernel.
      assertNotMatch(output, /Repairing/);
      if (!from.includes("10.20.")) continue;
      assertMatch(output, /Subnet changed from 10\.20\.\S+ to 10\.30\.\S+: restart Docker/);
    }
  });
}

Deno.test("flanneld takes the same subnet again when only its lease was deleted", async () => {
  await using cluster = await GuideCluster.start({ hosts: 2 });
  const units = await cluster.startAgents();
  const host = cluster.hosts[1]!;
  const subnet = await subnetOf(host);
  const mark = units[1]!.process.mark();
  await cluster.etcd.removeAll("v2", `${PREFIX}/subnets`);
  await units[1]!.process.waitFor(`Lease acquired: ${subnet}`, { from: mark });
  assertEquals(await subnetOf(host), subnet);
  await cluster.untilFullMesh("a full mesh again");
});

Deno.test("flanneld runs the operator's command when the subnet has changed, and at no other time", async () => {
  const options = "-iface=eth1 -on-subnet-change=/run/restart-docker";
  await using cluster = await GuideCluster.start({ options });
  const { host, etcd } = cluster;
  await host.writeTextFile(
    "/run/restart-docker",
    '#!/bin/sh\necho "$FLANNEL_PREVIOUS_SUBNET $FLANNEL_SUBNET $FLANNEL_MTU $FLANNEL_NETWORK" ' +
      ">> /run/ran\ncat /run/flannel/subnet.env >> /run/ran\nexit 7\n",
  );
  await host.exec(["chmod", "+x", "/run/restart-docker"]);
  const first = await cluster.startAgent(host);
  const before = await subnetOf(host);
  // The same subnet again, twice.
  await etcd.removeAll("v2", `${PREFIX}/subnets`);
  await first.process.waitFor(/lease \S+ was revoked/);
  await first.process.waitFor(/Acquiring a lease again[^]*Wrote subnet file/);
  await first.stop();
  const { process } = await cluster.startAgent(host);
  assert(!process.output.includes("on-subnet-change"), process.output);

  await cluster.setConfig(CONFIG.replace("10.20.", "10.30."));
  await process.waitFor(/-on-subnet-change command \/run\/restart-docker failed: exit code 7/);
  const subnet = (await subnetOf(host)).replace(".0/", ".1/");
  assertEquals(
    await host.readTextFile("/run/ran"),
    `${before} ${subnet} 1450 10.30.0.0/16\n` +
      await host.readTextFile("/run/flannel/subnet.env"),
  );
});

for (const api of ["v2", "v3"] as const) {
  Deno.test(`of many configs that wait the agent brings up the newest, and takes no lease of the others, on etcd ${api}`, async () => {
    await using cluster = await GuideCluster.start({ hosts: 1, api });
    const { host, etcd } = cluster;
    const [unit] = await cluster.startAgents();
    const { process } = unit!;
    const mark = process.mark();
    process.signal("SIGSTOP");
    const networks = Array.from({ length: 40 }, (_, i) => `10.${21 + i}.0.0/16`);
    for (const network of networks) {
      const config = JSON.stringify({ Network: network, Backend: { Type: "vxlan" } });
      await etcd.set(api, `${PREFIX}/config`, config);
    }
    process.signal("SIGCONT");
    await process.waitFor(/Lease acquired: 10\.60\./, { from: mark });
    await eventually("the newest network", async () => (await subnetOf(host)).startsWith("10.60."));
    const acquired = process.output.slice(mark).match(/Lease acquired: /g)!.length;
    assert(acquired <= networks.length / 2, `${acquired} leases`);
    assertEquals((await leaseKeys(etcd, api)).length, 1);
  });
}

Deno.test("an agent that has followed 120 configs takes no more memory than after 30", async () => {
  await using cluster = await GuideCluster.start({ hosts: 1, api: "v3" });
  const { etcd } = cluster;
  const [unit] = await cluster.startAgents();
  const { process } = unit!;
  let followed = 0;
  /** Resident memory in MiB after some more configs, once what is no longer used has been returned. */
  const residentAfter = async (configs: number) => {
    while (followed < configs) {
      const mark = process.mark();
      const config = { Network: `10.${21 + ++followed % 2}.0.0/16`, Backend: { Type: "vxlan" } };
      await etcd.set("v3", `${PREFIX}/config`, JSON.stringify(config));
      await process.waitFor(/Lease acquired: /, { from: mark });
    }
    // The interval at which the agent returns memory, and 1 s for it to do so.
    await new Promise((resolve) => setTimeout(resolve, 11_000));
    const status = await Deno.readTextFile(`/proc/${process.pid}/status`);
    return Number(/VmRSS:\s+(\d+)/.exec(status)![1]) / 1024;
  };
  const before = await residentAfter(30);
  const after = await residentAfter(120);
  assert(after < before + 40, `${before} MiB became ${after} MiB`);
});
