import { assert, assertEquals } from "@std/assert";
import { GuideCluster } from "../lab/guide_cluster.ts";
import type { UnderlayHost } from "../lab/lab.ts";
import type { EtcdApi } from "../lab/etcd/lab_etcd.ts";
import { lostReplies } from "../lab/lost_replies.ts";
import { BACKENDS, eventually, isFullMesh, leaseKeys, overlayAddress, subnetOf } from "./guide.ts";

/** The guide's default: udp. */
const UDP_CONFIG = BACKENDS.find(({ type }) => type === "udp")!.config;

/** Index, addresses and routes of the udp backend's device. */
async function kernelState(host: UnderlayHost): Promise<string> {
  const command = "ip -4 -o addr show dev flannel0; ip route show proto 102";
  // A TUN device that nobody holds has no carrier; its routes count all the same.
  return (await host.exec(["sh", "-c", command])).replaceAll(" linkdown", "");
}

for (const api of ["v2", "v3"] as EtcdApi[]) {
  Deno.test(`flanneld restarted by TERM and KILL loses no packet and keeps its subnet, on etcd ${api}`, async () => {
    await using cluster = await GuideCluster.start({ hosts: 2, api });
    const units = await cluster.startAgents();
    const [here, there] = cluster.hosts as [UnderlayHost, UnderlayHost];
    const subnet = await subnetOf(there);
    const target = await overlayAddress(there);

    for (const end of ["stop", "kill"] as const) {
      const lost = await lostReplies(here, target, async () => {
        const status = await units[1]![end]();
        if (end === "stop") assertEquals(status.code, 0);
        units[1] = await cluster.startAgent(there);
      });
      assertEquals(lost, 0, `after ${end}`);
      assertEquals(await subnetOf(there), subnet);
    }
    assertEquals((await leaseKeys(cluster.etcd, api)).length, 2);
    assert(units[1]!.notifications.some((line) => line.startsWith("STATUS=Lease 10.20.")));
    await units[1]!.stop();
    assert(units[1]!.notifications.includes("STOPPING=1"));
  });

  Deno.test(`flanneld by udp leaves its device to the next start, after TERM and KILL, on etcd ${api}`, async () => {
    await using cluster = await GuideCluster.start({ hosts: 2, api, config: UDP_CONFIG });
    const units = await cluster.startAgents();
    const [here, there] = cluster.hosts as [UnderlayHost, UnderlayHost];
    const subnet = await subnetOf(there);
    await cluster.untilFullMesh();

    for (const end of ["stop", "kill"] as const) {
      const before = await kernelState(there);
      await units[1]![end]();
      // Nobody carries packets now, but what containers and operators see is all there.
      assertEquals(await kernelState(there), before);
      units[1] = await cluster.startAgent(there);
      assertEquals(await kernelState(there), before);
      assertEquals(await subnetOf(there), subnet);
      assertEquals(await here.ping(await overlayAddress(there), { count: 3 }), 3);
    }
  });

  Deno.test(`flanneld outlives its etcd and follows it again, on etcd ${api}`, async () => {
    await using cluster = await GuideCluster.start({ hosts: 3, api });
    const { hosts, etcd } = cluster;
    const [first, second, third] = hosts as [UnderlayHost, UnderlayHost, UnderlayHost];
    for (const host of [first, second]) await cluster.startAgent(host);
    const lost = await lostReplies(first, await overlayAddress(second), async () => {
      await etcd.stop();
      await new Promise((resolve) => setTimeout(resolve, 2_000));
      await etcd.start();
    });
    assertEquals(lost, 0);
    // Changes after the outage reach agents that started before it.
    await cluster.startAgent(third);
    await eventually("a full mesh of three", () => isFullMesh(hosts), 20_000);
  });
}

Deno.test("flanneld started before etcd waits, reports that, and starts by itself", async () => {
  await using cluster = await GuideCluster.start();
  const { host, etcd } = cluster;
  await etcd.stop();
  const unit = await cluster.startAgent(host, { wait: false });
  await unit.process.waitFor(/failed to retrieve network config/);
  await new Promise((resolve) => setTimeout(resolve, 3_000));
  assertEquals(unit.process.output.match(/failed to retrieve network config/g)?.length, 1);
  await etcd.start();
  await unit.ready();
});
