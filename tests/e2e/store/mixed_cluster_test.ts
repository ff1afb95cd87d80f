import { assert, assertEquals } from "@std/assert";
import { GuideCluster } from "../../lab/guide_cluster.ts";
import type { UnderlayHost } from "../../lab/lab.ts";
import { lostReplies } from "../../lab/lost_replies.ts";
import { CONFIG, eventually, isFullMesh, overlayAddress, subnetOf } from "../guide.ts";

/** Changes of the guide's vxlan network that keep its range. */
const CHANGES: readonly (readonly [name: string, backend: string])[] = [
  ["another VNI and port", '{"Type": "vxlan", "VNI": 7, "Port": 4789}'],
  ["direct routes", '{"Type": "vxlan", "DirectRouting": true}'],
  ["udp", '{"Type": "udp"}'],
  ["host-gw", '{"Type": "host-gw"}'],
];

/**
 * Five seconds without a reply, at one ping in 20 ms: much for two agents that switch on a busy machine. Hosts that
 * wait for the stopped agents would not reach each other at all.
 */
const LIMIT = 250;

for (const [name, backend] of CHANGES) {
  // Flannel 0.7.1 switches when it is restarted, host by host; here two agents are stopped.
  Deno.test(`flanneld keeps those that share a backend connected while vxlan is changed to ${name}`, async () => {
    await using cluster = await GuideCluster.start({ hosts: 4 });
    const { hosts } = cluster;
    const units = await cluster.startAgents();
    for (const host of hosts) {
      // Stays, whatever device has it besides.
      await host.exec(["ip", "addr", "add", `${await overlayAddress(host)}/32`, "dev", "lo"]);
    }
    await cluster.untilFullMesh();
    const subnets = await Promise.all(hosts.map(subnetOf));
    const [here, there, oldHere, oldThere] = hosts as [
      ...[UnderlayHost, UnderlayHost, UnderlayHost, UnderlayHost],
    ];
    const slow = units.slice(2);
    for (const { process } of slow) process.signal("SIGSTOP");
    let lost = 0;
    try {
      const oldTarget = await overlayAddress(oldThere);
      const lostByOld = await lostReplies(oldHere, oldTarget, async () => {
        lost = await lostReplies(here, await overlayAddress(there), async () => {
          const marks = units.map(({ process }) => process.mark());
          await cluster.setConfig(CONFIG.replace('{"Type": "vxlan"}', backend));
          for (const [i, { process }] of units.slice(0, 2).entries()) {
            await process.waitFor(/Network config changed[^]*Wrote subnet file/, {
              from: marks[i]!,
            });
          }
        });
        await eventually("the two that have switched", () => isFullMesh([here, there]));
      });
      assertEquals(lostByOld, 0, "between the two that have not switched");
      assert(lost < LIMIT, `${lost} replies lost between the two that have switched`);
    } finally {
      for (const { process } of slow) process.signal("SIGCONT");
    }
    await cluster.untilFullMesh("a full mesh again");
    assertEquals(await Promise.all(hosts.map(subnetOf)), subnets);
  });
}
