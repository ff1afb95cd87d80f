import { assert, assertEquals } from "@std/assert";
import { Lab, type UnderlayHost } from "../lab/lab.ts";
import { type EtcdApi, LabEtcd } from "../lab/lab_etcd.ts";
import { lostReplies } from "../lab/lost_replies.ts";
import { LabUnit } from "../lab/unit.ts";
import {
  BACKENDS,
  CONFIG,
  eventually,
  isFullMesh,
  leaseKeys,
  overlayAddress,
  PREFIX,
  subnetOf,
  writeSysconfig,
} from "./guide.ts";

/** The guide's default: udp. */
const UDP_CONFIG = BACKENDS.find(({ type }) => type === "udp")!.config;

/** Starts the unit on every host of a lab, one after the other. */
async function startAll(
  lab: Lab,
  etcd: LabEtcd,
  stack: AsyncDisposableStack,
): Promise<LabUnit[]> {
  const units: LabUnit[] = [];
  for (const host of lab.hosts) {
    await writeSysconfig(host, etcd);
    units.push(stack.use(await LabUnit.start(host)));
  }
  return units;
}

/** Index, addresses and routes of the udp backend's device. */
async function kernelState(host: UnderlayHost): Promise<string> {
  const command = "ip -4 -o addr show dev flannel0; ip route show proto 102";
  // A TUN device that nobody holds has no carrier; its routes count all the same.
  return (await host.exec(["sh", "-c", command])).replaceAll(" linkdown", "");
}

for (const api of ["v2", "v3"] as EtcdApi[]) {
  Deno.test(`flanneld restarted by TERM and KILL loses no packet and keeps its subnet, on etcd ${api}`, async () => {
    await using lab = await Lab.start({ hosts: 2 });
    await using stack = new AsyncDisposableStack();
    const etcd = stack.use(await LabEtcd.start(lab.hosts[0]!));
    await etcd.set(api, `${PREFIX}/config`, CONFIG);
    const units = await startAll(lab, etcd, stack);
    const [here, there] = lab.hosts as [UnderlayHost, UnderlayHost];
    const subnet = await subnetOf(there);
    const target = await overlayAddress(there);

    for (const end of ["stop", "kill"] as const) {
      const lost = await lostReplies(here, target, async () => {
        const status = await units[1]![end]();
        if (end === "stop") assertEquals(status.code, 0);
        units[1] = stack.use(await LabUnit.start(there));
      });
      assertEquals(lost, 0, `after ${end}`);
      assertEquals(await subnetOf(there), subnet);
    }
    assertEquals((await leaseKeys(etcd, api)).length, 2);
    assert(units[1]!.notifications.some((line) => line.startsWith("STATUS=Lease 10.20.")));
    await units[1]!.stop();
    assert(units[1]!.notifications.includes("STOPPING=1"));
  });

  Deno.test(`flanneld by udp leaves its device to the next start, after TERM and KILL, on etcd ${api}`, async () => {
    await using lab = await Lab.start({ hosts: 2 });
    await using stack = new AsyncDisposableStack();
    const etcd = stack.use(await LabEtcd.start(lab.hosts[0]!));
    await etcd.set(api, `${PREFIX}/config`, UDP_CONFIG);
    const units = await startAll(lab, etcd, stack);
    const [here, there] = lab.hosts as [UnderlayHost, UnderlayHost];
    const subnet = await subnetOf(there);
    await eventually("a full mesh", () => isFullMesh(lab.hosts));

    for (const end of ["stop", "kill"] as const) {
      const before = await kernelState(there);
      await units[1]![end]();
      // Nobody carries packets now, but what containers and operators see is all there.
      assertEquals(await kernelState(there), before);
      units[1] = stack.use(await LabUnit.start(there));
      assertEquals(await kernelState(there), before);
      assertEquals(await subnetOf(there), subnet);
      assertEquals(await here.ping(await overlayAddress(there), { count: 3 }), 3);
    }
  });

  Deno.test(`flanneld outlives its etcd and follows it again, on etcd ${api}`, async () => {
    await using lab = await Lab.start({ hosts: 3 });
    await using stack = new AsyncDisposableStack();
    const etcd = stack.use(await LabEtcd.start(lab.hosts[0]!));
    await etcd.set(api, `${PREFIX}/config`, CONFIG);
    const [first, second, third] = lab.hosts as [UnderlayHost, UnderlayHost, UnderlayHost];
    for (const host of [first, second]) {
      await writeSysconfig(host, etcd);
      stack.use(await LabUnit.start(host));
    }
    const lost = await lostReplies(first, await overlayAddress(second), async () => {
      await etcd.stop();
      await new Promise((resolve) => setTimeout(resolve, 2_000));
      await etcd.start();
    });
    assertEquals(lost, 0);
    // What happens after the outage reaches those who were there before it.
    await writeSysconfig(third, etcd);
    stack.use(await LabUnit.start(third));
    await eventually("a full mesh of three", () => isFullMesh(lab.hosts), 20_000);
  });
}

Deno.test("flanneld started before etcd waits, says so, and comes up by itself", async () => {
  await using lab = await Lab.start({ hosts: 1 });
  await using stack = new AsyncDisposableStack();
  const host = lab.hosts[0]!;
  const etcd = stack.use(await LabEtcd.start(host));
  await etcd.set("v2", `${PREFIX}/config`, CONFIG);
  await writeSysconfig(host, etcd);
  await etcd.stop();
  const unit = stack.use(await LabUnit.start(host, { wait: false }));
  await unit.process.waitFor(/failed to retrieve network config/);
  await new Promise((resolve) => setTimeout(resolve, 3_000));
  assertEquals(unit.process.output.match(/failed to retrieve network config/g)?.length, 1);
  await etcd.start();
  await unit.ready();
});
