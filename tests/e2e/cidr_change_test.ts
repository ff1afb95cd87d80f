import { assert, assertEquals, assertMatch } from "@std/assert";
import { Lab, type UnderlayHost } from "../lab/lab.ts";
import { type EtcdApi, LabEtcd } from "../lab/lab_etcd.ts";
import { LabUnit } from "../lab/unit.ts";
import {
  CONFIG,
  eventually,
  isFullMesh,
  leaseKeys,
  overlayAddress,
  PREFIX,
  subnetOf,
  writeSysconfig,
} from "./guide.ts";

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

/** What stands for a container's address where a network has no device, in both of the networks. */
async function giveAddresses(hosts: readonly UnderlayHost[]): Promise<void> {
  for (const host of hosts) {
    await host.exec(["ip", "addr", "replace", `${await overlayAddress(host)}/32`, "dev", "lo"]);
  }
}
const APIS: readonly EtcdApi[] = ["v2", "v3"];

for (const { api, change } of APIS.flatMap((api) => CHANGES.map((change) => ({ api, change })))) {
  const { name, from, to, device, gone } = change;
  Deno.test(`flanneld follows the guide's CIDR change, ${name}, on etcd ${api}`, async () => {
    await using lab = await Lab.start({ hosts: 3 });
    await using stack = new AsyncDisposableStack();
    const etcd = stack.use(await LabEtcd.start(lab.hosts[0]!));
    await etcd.set(api, `${PREFIX}/config`, from);
    const units: LabUnit[] = [];
    for (const host of lab.hosts) {
      await writeSysconfig(host, etcd);
      units.push(stack.use(await LabUnit.start(host)));
    }
    const isHostGw = (config: string) => config.includes("host-gw");
    if (isHostGw(from)) await giveAddresses(lab.hosts);
    await eventually("a full mesh", () => isFullMesh(lab.hosts));

    await etcd.removeAll(api, PREFIX);
    for (const unit of units) {
      await unit.process.waitFor(/this host keeps its subnet and device until there is one again/);
    }
    const marks = units.map(({ process }) => process.mark());
    await etcd.set(api, `${PREFIX}/config`, to);
    for (const [i, { process }] of units.entries()) {
      await process.waitFor(/Wrote subnet file/, { from: marks[i]! });
    }
    for (const host of lab.hosts) {
      await eventually(
        `${host.name} in the new network`,
        async () => (await subnetOf(host)).startsWith("10.30."),
      );
    }
    for (const host of isHostGw(from) ? lab.hosts : []) {
      await host.exec(["ip", "addr", "flush", "dev", "lo", "scope", "global"]);
    }
    if (isHostGw(to)) await giveAddresses(lab.hosts);
    await eventually("a full mesh in the new network", () => isFullMesh(lab.hosts));

    assertEquals((await leaseKeys(etcd, api)).length, 3);
    for (const [i, host] of lab.hosts.entries()) {
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
      if (!from.includes("10.20.")) continue;
      assertMatch(output, /Subnet changed from 10\.20\.\S+ to 10\.30\.\S+: restart Docker/);
    }
  });
}

Deno.test("flanneld takes the same subnet again when only its lease was deleted", async () => {
  await using lab = await Lab.start({ hosts: 2 });
  await using stack = new AsyncDisposableStack();
  const etcd = stack.use(await LabEtcd.start(lab.hosts[0]!));
  await etcd.set("v2", `${PREFIX}/config`, CONFIG);
  const units: LabUnit[] = [];
  for (const host of lab.hosts) {
    await writeSysconfig(host, etcd);
    units.push(stack.use(await LabUnit.start(host)));
  }
  const subnet = await subnetOf(lab.hosts[1]!);
  const mark = units[1]!.process.mark();
  await etcd.removeAll("v2", `${PREFIX}/subnets`);
  await units[1]!.process.waitFor(`Lease acquired: ${subnet}`, { from: mark });
  assertEquals(await subnetOf(lab.hosts[1]!), subnet);
  await eventually("a full mesh again", () => isFullMesh(lab.hosts));
});

Deno.test("flanneld runs the operator's command when the subnet has changed, and at no other time", async () => {
  await using lab = await Lab.start({ hosts: 1 });
  await using stack = new AsyncDisposableStack();
  const host = lab.hosts[0]!;
  const etcd = stack.use(await LabEtcd.start(host));
  await etcd.set("v2", `${PREFIX}/config`, CONFIG);
  await host.writeTextFile(
    "/run/restart-docker",
    '#!/bin/sh\necho "$FLANNEL_PREVIOUS_SUBNET $FLANNEL_SUBNET $FLANNEL_MTU $FLANNEL_NETWORK" ' +
      ">> /run/ran\ncat /run/flannel/subnet.env >> /run/ran\nexit 7\n",
  );
  await host.exec(["chmod", "+x", "/run/restart-docker"]);
  const options = "-iface=eth1 -on-subnet-change=/run/restart-docker";
  await writeSysconfig(host, etcd, { options });
  const first = stack.use(await LabUnit.start(host));
  const before = await subnetOf(host);
  // The same subnet again, twice.
  await etcd.removeAll("v2", `${PREFIX}/subnets`);
  await first.process.waitFor(/Lease \S+ has been revoked/);
  await first.process.waitFor(/Acquiring a lease again[^]*Wrote subnet file/);
  await first.stop();
  const { process } = stack.use(await LabUnit.start(host));
  assert(!process.output.includes("on-subnet-change"), process.output);

  await etcd.set("v2", `${PREFIX}/config`, CONFIG.replace("10.20.", "10.30."));
  await process.waitFor(/-on-subnet-change command \/run\/restart-docker failed: exit code 7/);
  const subnet = (await subnetOf(host)).replace(".0/", ".1/");
  assertEquals(
    await host.readTextFile("/run/ran"),
    `${before} ${subnet} 1450 10.30.0.0/16\n` +
      await host.readTextFile("/run/flannel/subnet.env"),
  );
});
