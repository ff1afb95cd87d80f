import { assert, assertEquals, assertMatch } from "@std/assert";
import { CloudCluster } from "../../cloud/cluster.ts";
import { GceLab } from "../../cloud/gce_lab.ts";
import { FLANNELD } from "../../lab/unit.ts";
import type { UnderlayHost } from "../../lab/lab.ts";
import { PREFIX, subnetEnv, subnetOf } from "../guide.ts";

const CONFIG = { Network: "10.20.0.0/16", Backend: { Type: "gce", RepairPeriod: 1 } };

Deno.test("flanneld by gce has Google's router carry the packets, through all that happens there", async (t) => {
  await using cluster = await CloudCluster.start(
    (place) => Promise.resolve(new GceLab(place)),
    CONFIG,
  );
  const { lab, cloud, etcd, units } = cluster;
  const [first, second, third] = lab.hosts as [UnderlayHost, UnderlayHost, UnderlayHost];
  const run = (host: UnderlayHost, ...args: string[]) =>
    host.run([FLANNELD, ...args], {
      env: { ...cluster.machines.find(({ name }) => name === host.name)!.env },
    });

  await t.step("three agents have a route each, and the router carries their pings", async () => {
    cloud.throttle(2);
    cloud.break(1);
    await Promise.all(lab.hosts.map((host) => cluster.startAgent(host)));
    await cluster.routesInPlace();
    for (const host of lab.hosts) {
      assertEquals((await subnetEnv(host)).FLANNEL_MTU, "1500");
      const subnet = await subnetOf(host);
      const name = `flannel-${subnet.replaceAll(/[./]/g, "-")}`;
      assertEquals(cloud.gce.routes.get(name)?.destRange, subnet);
      const key = `${PREFIX}/subnets/${subnet.replace("/", "-")}`;
      assertEquals(await etcd.get("v2", key), `{"PublicIP":"${host.address}"}`);
      assertEquals(await host.exec(["ip", "route", "show", "proto", "102"]), "");
    }
    await cluster.pings();
  });

  await t.step("a restart by KILL changes nothing, and plan has nothing to change", async () => {
    await units.get(second.name)!.kill();
    cloud.takeChanges();
    await cluster.startAgent(second);
    const { code, stdout } = await run(second, "plan", "-detailed-exitcode");
    assertEquals([code, cloud.takeChanges()], [0, []], stdout);
  });

  await t.step("a route that leads elsewhere, or is deleted, is put right", async () => {
    const subnet = await subnetOf(first);
    await cloud.removeRoute(subnet);
    await cloud.addRoute(subnet, cluster.machines[1]!);
    await cluster.routesInPlace();
    await cloud.removeRoute(subnet);
    await cluster.routesInPlace();
  });

  await t.step(
    "a revoked permission and a used-up quota are named, and everything recovers without them",
    async () => {
      const { process } = units.get(first.name)!;
      let mark = process.mark();
      cloud.denyCreate();
      await cloud.removeRoute(await subnetOf(first));
      await process.waitFor(
        /compute\.routes\.insert on projects\/sample-project\/global\/routes\/flannel-\S+ is not allowed to flannel@/,
        { from: mark },
      );
      mark = process.mark();
      cloud.gce.quota = 0;
      cloud.heal();
      await process.waitFor(/exceeds a quota of the project: QUOTA_EXCEEDED/, { from: mark });
      cloud.gce.quota = 200;
      await cluster.routesInPlace();
    },
  );

  await t.step(
    "an instance that was replaced keeps its subnet; routes of dead ones go",
    async () => {
      await units.get(third.name)!.kill();
      const subnet = await subnetOf(third);
      const dead = await cloud.addMachine("dead", "172.28.128.150");
      await cloud.addRoute("10.20.254.0/24", dead);
      await cloud.terminate(dead);
      cluster.replaceMachine(await cloud.addMachine(third.name, third.address));
      await cluster.startAgent(third);
      assertEquals(await subnetOf(third), subnet);
      await cluster.routesInPlace();
    },
  );

  await t.step("cleanup -release takes the route and the lease", async () => {
    const subnet = await subnetOf(third);
    await units.get(third.name)!.stop();
    const { code, stdout, stderr } = await run(third, "cleanup", "-release");
    assertEquals([code, stderr], [0, ""], stdout);
    assertMatch(stdout, new RegExp(`^removed route ${subnet} in network default to host102$`, "m"));
    assertEquals((await cloud.routes()).length, 2);
    assertEquals((await etcd.keys("v2", `${PREFIX}/subnets`)).length, 2);
  });

  const text = [...units.values()].map(({ process }) => process.output).join("\n");
  for (const secret of cloud.secrets) assert(!text.includes(secret));
});
