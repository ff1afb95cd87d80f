import { assert, assertEquals } from "@std/assert";
import { Lab, type UnderlayHost } from "../lab/lab.ts";
import { LabEtcd } from "../lab/lab_etcd.ts";
import { LabUnit } from "../lab/unit.ts";
import { CONFIG, eventually, isFullMesh, overlayAddress, PREFIX, writeSysconfig } from "./guide.ts";

/** What is done to a host, and the first line that its agent says about it. */
const DAMAGE: readonly (readonly [command: string, report: RegExp])[] = [
  ["ip link del flannel.1", /Repairing: device flannel\.1 removed/],
  ["ip link set flannel.1 down", /Repairing: device flannel\.1 set down/],
  ["ip route flush proto 102", /Repairing: route to \S+ removed/],
  ["ip addr flush dev flannel.1", /Repairing: address of flannel\.1 removed/],
  ["ip neigh flush dev flannel.1 nud permanent", /Repairing: neighbour \S+ removed or altered/],
  ["ip link set flannel.1 address 0a:00:00:00:00:55", /Repairing: MAC of flannel\.1 altered/],
];

Deno.test("flanneld mends what others break of its kernel state, while it runs", async (t) => {
  await using lab = await Lab.start({ hosts: 3 });
  await using stack = new AsyncDisposableStack();
  const etcd = stack.use(await LabEtcd.start(lab.hosts[0]!));
  await etcd.set("v2", `${PREFIX}/config`, CONFIG);
  const units: LabUnit[] = [];
  for (const host of lab.hosts) {
    await writeSysconfig(host, etcd);
    units.push(stack.use(await LabUnit.start(host)));
  }
  const [, host] = lab.hosts as [UnderlayHost, UnderlayHost, UnderlayHost];
  const { process } = units[1]!;
  const values = async () =>
    await Promise.all(
      (await etcd.keys("v2", `${PREFIX}/subnets`)).map((key) => etcd.get("v2", key)),
    );
  const before = await values();
  await eventually("a full mesh", () => isFullMesh(lab.hosts));

  for (const [command, report] of DAMAGE) {
    await t.step(command, async () => {
      const mark = process.mark();
      await host.exec(command.split(" "));
      await process.waitFor(report, { from: mark });
      await eventually("a full mesh again", () => isFullMesh(lab.hosts), 5_000);
    });
  }
  // The others need not have noticed: lease, subnet and VTEP are what they were.
  assertEquals(await values(), before);
  for (const unit of [units[0]!, units[2]!]) assert(!unit.process.output.includes("Repairing"));
  assertEquals(await host.ping(await overlayAddress(lab.hosts[0]!)), 1);
});
