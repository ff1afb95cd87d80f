import { assert, assertEquals, assertMatch } from "@std/assert";
import { Lab } from "../lab/lab.ts";
import { type EtcdApi, LabEtcd } from "../lab/lab_etcd.ts";
import { LabUnit } from "../lab/unit.ts";
import {
  CONFIG,
  eventually,
  isFullMesh,
  leaseKeys,
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
];
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
    await eventually("a full mesh", () => isFullMesh(lab.hosts));

    await etcd.removeAll(api, PREFIX);
    for (const unit of units) await unit.process.waitFor(/keeping the data path as it is/);
    await etcd.set(api, `${PREFIX}/config`, to);
    for (const host of lab.hosts) {
      await eventually(
        `${host.name} in the new network`,
        async () => (await subnetOf(host)).startsWith("10.30."),
      );
    }
    await eventually("a full mesh in the new network", () => isFullMesh(lab.hosts));

    assertEquals((await leaseKeys(etcd, api)).length, 3);
    for (const [i, host] of lab.hosts.entries()) {
      // Nothing of the old network is left: neither address nor route, neighbour or FDB entry.
      const everything = await host.exec([
        "sh",
        "-c",
        `ip -4 addr show dev ${device}; ip route; ip neigh show nud all dev ${device}; ip link`,
      ]);
      assert(!everything.includes("10.20."), everything);
      assert(gone === undefined || !everything.includes(`${gone}:`), everything);
      const { output } = units[i]!.process;
      assertMatch(output, /Network config changed/);
      assertMatch(output, /Lease acquired: 10\.30\./);
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
