/** A firewall tool that hangs, as behind a lock that nobody releases: the agent goes on without it. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { IpSets } from "../../../mod/sys/mod.ts";
import { GuideCluster } from "../../lab/guide_cluster.ts";
import { hang, resume, wrapIptablesSave } from "../../lab/hanging_iptables.ts";
import type { UnderlayHost } from "../../lab/lab.ts";
import type { LabUnit } from "../../lab/unit.ts";
import {
  BACKENDS,
  eventually,
  overlayAddress,
  PREFIX,
  standInForDevice,
  subnetEnv,
} from "../guide.ts";

/** Less than the 30 s that a command may take, more than any start on a busy machine, in milliseconds. */
const SOON = 15_000;

/** More than a command that hangs, the next check of the rules, and a busy machine take together, in ms. */
const TIMEOUT_MS = 90_000;

const WAITING = /^W\S+ .*waiting for iptables-save \(\d+ s\) to set up the firewall$/m;

/** Waits until the agent has reported the tool, from now on. */
async function untilWaiting({ process }: LabUnit): Promise<void> {
  await process.waitFor(WAITING, { from: process.output.length, timeout: SOON });
}

for (const backend of BACKENDS) {
  Deno.test(`flanneld reaches a joining peer while iptables-save hangs, by ${backend.type}`, async () => {
    await using cluster = await GuideCluster.start({ hosts: 2, config: backend.config });
    const [here, there] = cluster.hosts as [UnderlayHost, UnderlayHost];
    await wrapIptablesSave(here);
    // Stand for Docker's: with host-gw the rules there accept peers by a set.
    for (const chain of ["DOCKER-USER", "DOCKER"]) await here.exec(["iptables", "-N", chain]);
    const unit = await cluster.startAgent(here);
    await standInForDevice(here, backend);
    await hang(here);
    await untilWaiting(unit);

    const peer = await cluster.startAgent(there);
    await standInForDevice(there, backend);
    const target = await overlayAddress(there);
    await eventually("the peer", async () => await here.ping(target) === 1, SOON);
    if (backend.type === "host-gw") {
      using sets = new IpSets({ netns: `/proc/${here.pid}/ns/net` });
      const elements = () => sets.elements("flannel-peers").map(String).sort();
      assertEquals(elements(), [`${target}/24`, `${there.address}/32`].sort());
      await peer.kill();
      await cluster.etcd.ctl("v2", ["rm", `${PREFIX}/subnets/${target}-24`]);
      await eventually("a set without it", () => Promise.resolve(elements().length === 0), SOON);
    }

    await resume(here);
    await unit.process.waitFor(/The firewall works again/, { timeout: TIMEOUT_MS });
    assertMatch(await here.exec(["iptables-save"]), /-j FLANNEL-FWD$/m);
  });
}

Deno.test("flanneld reports what its start waits for, follows its peers meanwhile, and is ready after the rules", async () => {
  await using cluster = await GuideCluster.start({ hosts: 2, options: "-iface=eth1 -ip-masq" });
  const [here, there] = cluster.hosts as [UnderlayHost, UnderlayHost];
  await wrapIptablesSave(here);
  await hang(here);
  const unit = await cluster.startAgent(here, { wait: false });
  await untilWaiting(unit);
  await cluster.startAgent(there);
  const target = await overlayAddress(there);
  await eventually("the peer", async () => await here.ping(target) === 1, SOON);
  assert(!unit.notifications.includes("READY=1"));
  assertEquals(
    await here.run(["test", "-e", "/run/flannel/subnet.env"]).then(({ code }) => code),
    1,
  );

  await resume(here);
  await unit.ready(TIMEOUT_MS);
  assertMatch(await here.exec(["iptables-save", "-t", "nat"]), /-j FLANNEL-POSTRTG$/m);
  assertEquals((await subnetEnv(here)).FLANNEL_IPMASQ, "true");
});

Deno.test("flanneld without -ip-masq is ready while iptables-save hangs, and stops at once", async () => {
  await using cluster = await GuideCluster.start();
  const { host } = cluster;
  await wrapIptablesSave(host);
  await hang(host);
  const unit = await cluster.startAgent(host);
  assertMatch(unit.process.output, WAITING);
  const stopping = Date.now();
  assertEquals((await unit.stop()).code, 0);
  assert(Date.now() - stopping < 8_000, "it ended by itself, not by SIGKILL");
  assertMatch(unit.process.output, /Exiting cleanly\.\.\.\n$/);
});

Deno.test("flanneld stops while a start waits for iptables-save", async () => {
  await using cluster = await GuideCluster.start({ options: "-iface=eth1 -ip-masq" });
  const { host } = cluster;
  await wrapIptablesSave(host);
  await hang(host);
  const unit = await cluster.startAgent(host, { wait: false });
  await untilWaiting(unit);
  assertEquals((await unit.stop()).code, 0);
  assertMatch(unit.process.output, /Exiting cleanly\.\.\.\n$/);
});

Deno.test("flanneld applies the newest config's rules after a firewall tool that hung", async () => {
  await using cluster = await GuideCluster.start({ options: "-iface=eth1 -ip-masq" });
  const { host } = cluster;
  await wrapIptablesSave(host);
  const unit = await cluster.startAgent(host);
  await hang(host);
  await untilWaiting(unit);
  for (const network of ["10.30.0.0/16", "10.40.0.0/16"]) {
    await cluster.setConfig(`{"Network": "${network}", "Backend": {"Type": "vxlan"}}`);
    const isWritten = async () => (await subnetEnv(host)).FLANNEL_NETWORK === network;
    await eventually(`subnet.env of ${network}`, isWritten, SOON);
  }
  await resume(host);
  await eventually("the rules of the newest network, and no others", async () => {
    const rules = (await host.exec(["iptables-save"])).match(/10\.[234]0\.0\.0\/16/g) ?? [];
    return rules.length > 0 && rules.every((network) => network === "10.40.0.0/16");
  }, TIMEOUT_MS);
});
