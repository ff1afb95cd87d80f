import { assert, assertEquals, assertMatch } from "@std/assert";
import { AwsLab } from "../../cloud/aws_lab.ts";
import { CloudCluster } from "../../cloud/cluster.ts";
import { FLANNELD } from "../../lab/unit.ts";
import type { UnderlayHost } from "../../lab/lab.ts";
import { eventually, PREFIX, subnetEnv, subnetOf } from "../guide.ts";

const CONFIG = { Network: "10.20.0.0/16", Backend: { Type: "aws-vpc", RepairPeriod: 1 } };

Deno.test("flanneld by aws-vpc has EC2's router carry the packets, through all that happens there", async (t) => {
  await using cluster = await CloudCluster.start((place) => AwsLab.start(place), CONFIG);
  const { lab, cloud, etcd, units } = cluster;
  const [first, second, third] = lab.hosts as [UnderlayHost, UnderlayHost, UnderlayHost];
  const envOf = (host: UnderlayHost) => ({
    ...cluster.machines.find(({ name }) => name === host.name)!.env,
  });
  const run = (host: UnderlayHost, ...args: string[]) =>
    host.run([FLANNELD, ...args], { env: envOf(host) });

  /** Returns doctor's check of the provider's tables. */
  const routeCheck = async (host: UnderlayHost) => {
    const { stdout, stderr } = await run(host, "doctor", "-json");
    const { checks } = JSON.parse(stdout) as { checks: { id: string; verdict: string }[] };
    assert(!/defect/.test(stderr), stderr);
    return checks.find(({ id }) => id === "route-tables")?.verdict;
  };

  await t.step("three agents have a route each, and the router carries their pings", async () => {
    cloud.throttle(3);
    // As other versions have written it.
    const lease = `{"PublicIP":"${second.address}","BackendType":"aws-vpc"}`;
    await etcd.ctl("v2", ["set", "--ttl", "3600", `${PREFIX}/subnets/10.20.77.0-24`, lease]);
    await Promise.all(lab.hosts.map((host) => cluster.startAgent(host)));
    await cluster.routesInPlace();
    assertEquals(await subnetOf(second), "10.20.77.0/24");
    for (const machine of cluster.machines) {
      assertEquals(await cloud.sourceDestCheck(machine), false, machine.name);
    }
    for (const host of lab.hosts) {
      assertEquals((await subnetEnv(host)).FLANNEL_MTU, "1500");
      const key = `${PREFIX}/subnets/${(await subnetOf(host)).replace("/", "-")}`;
      assertEquals(await etcd.get("v2", key), `{"PublicIP":"${host.address}"}`);
      assertEquals(await host.exec(["ip", "route", "show", "proto", "102"]), "");
      assert(!/flannel/.test(await host.exec(["ip", "-o", "link"])));
    }
    await cluster.pings();
  });

  await t.step("a restart, by TERM or KILL, changes nothing", async () => {
    const before = await cluster.expected();
    for (const end of ["stop", "kill"] as const) {
      await units.get(second.name)![end]();
      cloud.takeChanges();
      await cluster.startAgent(second);
      assertEquals(cloud.takeChanges(), []);
    }
    assertEquals(await cluster.expected(), before);
    assertEquals(await cloud.routes(), before);
  });

  await t.step("plan shows the calls that would be made, and makes none", async () => {
    assertEquals((await run(second, "plan")).stdout.match(/^[-+!] .*/m), null);
    const agent = units.get(second.name)!;
    await agent.stop();
    const subnet = await subnetOf(second);
    // A machine without an agent: the other hosts' agents remove routes that wrongly lead to themselves.
    const machine = await cloud.addMachine("stranger", "172.28.128.200");
    const [stranger, self] = [machine.target, cluster.machines[1]!.target];
    await cloud.removeRoute(subnet);
    await cloud.addRoute(subnet, machine);
    cloud.takeChanges();
    const { code, stdout } = await run(second, "plan", "-detailed-exitcode");
    assertEquals(code, 3);
    assertEquals(stdout.split("\n").filter((line) => /^[-+!] /.test(line)), [
      `- route ${subnet} in ${cloud.table} to ${stranger}`,
      `+ route ${subnet} in ${cloud.table} to ${self}`,
    ]);
    assertEquals(cloud.takeChanges(), []);
    await cluster.startAgent(second);
    assertEquals(cloud.takeChanges(), ["ReplaceRoute"]);
    await cluster.routesInPlace();
  });

  await t.step("status and doctor report the state of the route", async () => {
    const { code, stdout } = await run(second, "status");
    assertEquals(code, 0, stdout);
    assertMatch(stdout, new RegExp(`aws-vpc on ${cloud.table}, MTU 1500`));
    assertMatch(stdout, new RegExp(`route in ${cloud.table}: active`));
    assertEquals(await routeCheck(second), "ok");
    cloud.denyRead();
    assertEquals(await routeCheck(second), "problem");
    cloud.heal();
    await units.get(second.name)!.stop();
    await cloud.removeRoute(await subnetOf(second));
    assertEquals(await routeCheck(second), "problem");
    await cluster.startAgent(second);
    await cluster.routesInPlace();
  });

  await t.step("a route that somebody deletes comes back", async () => {
    const mark = units.get(first.name)!.process.mark();
    await cloud.removeRoute(await subnetOf(first));
    await cluster.routesInPlace();
    await units.get(first.name)!.process.waitFor(/Repairing: \+ route /, { from: mark });
  });

  await t.step(
    "a revoked permission is named once, and its return repairs everything",
    async () => {
      const { process } = units.get(first.name)!;
      const mark = process.mark();
      const subnet = await subnetOf(first);
      cloud.denyCreate();
      await cloud.removeRoute(subnet);
      await process.waitFor(
        /ec2:CreateRoute on route table rtb-\w+ is not allowed to role flannel/,
        {
          from: mark,
        },
      );
      await new Promise((resolve) => setTimeout(resolve, 3_000));
      const said = process.output.slice(mark).split("\n").filter((line) =>
        /not allowed/.test(line)
      );
      assertEquals(said.length, 1, said.join("\n"));
      assert(!/Encoded authorization/.test(said[0]!));
      cloud.heal();
      await cluster.routesInPlace();
    },
  );

  await t.step("an instance that was replaced keeps subnet and route; blackholes go", async () => {
    const old = cluster.machines[2]!;
    const subnet = await subnetOf(third);
    await units.get(third.name)!.kill();
    await cloud.addRoute("10.20.254.0/24", old);
    await cloud.terminate(old);
    cluster.replaceMachine(await cloud.addMachine(third.name, third.address));
    await cluster.startAgent(third);
    assertEquals(await subnetOf(third), subnet);
    await cluster.routesInPlace();
    // Depends on the first agent to check: this host's replaces the blackhole, another's removes it.
    assert(cloud.takeChanges().some((action) => /^(Replace|Delete)Route$/.test(action)));
    await cluster.pings();
  });

  await t.step("a second route table in the config is followed live", async () => {
    const { RouteTable } = await cloud.moto.call("ec2", "create_route_table", {
      VpcId: cloud.vpcId,
    });
    const id = RouteTable.RouteTableId as string;
    const backend = { ...CONFIG.Backend, RouteTableID: [cloud.table, id] };
    const config = JSON.stringify({ ...CONFIG, Backend: backend });
    await etcd.set("v2", `${PREFIX}/config`, config);
    const expected = (await cluster.expected()).join();
    cloud.takeChanges();
    await eventually(
      "routes in both tables",
      async () =>
        (await cloud.routes(id)).join() === expected && (await cloud.routes()).join() === expected,
    );
  });

  await t.step("cleanup -release takes the routes out of both tables, and the lease", async () => {
    const subnet = await subnetOf(third);
    await units.get(third.name)!.stop();
    // The table that the config had already kept its routes, which carry packets all the time.
    assertEquals(cloud.takeChanges(), Array(3).fill("CreateRoute"));
    const { code, stdout, stderr } = await run(third, "cleanup", "-release");
    assertEquals([code, stderr], [0, ""], stdout);
    const removed = stdout.split("\n").filter((line) => line.startsWith("removed route "));
    assertEquals(removed.length, 2, stdout);
    for (const line of removed) assertMatch(line, new RegExp(`^removed route ${subnet} in rtb-`));
    // By destination, which is random; who is left is not.
    const left = (await cloud.routes()).map((line) => line.split(" ")[1]).sort();
    assertEquals(left, ["host100", "host101"]);
    assertEquals((await etcd.keys("v2", `${PREFIX}/subnets`)).length, 2);
  });

  await t.step("a host that is not an instance gets one line about it", async () => {
    await cloud.metadata.get(third.name)![Symbol.asyncDispose]();
    const { code, stderr } = await third.run(
      [FLANNELD, "-iface=eth1", `-etcd-endpoints=${etcd.endpoint}`, `-etcd-prefix=${PREFIX}`],
      {
        env: {
          ...cluster.machines[2]!.env,
          AWS_EC2_METADATA_SERVICE_ENDPOINT: "http://172.28.128.1:9",
        },
        timeout: 90_000,
      },
    );
    assertEquals(code, 1, stderr);
    const last = stderr.trimEnd().split("\n").at(-1)!;
    assertMatch(last, /aws-vpc: the instance metadata service at .* is this an EC2 instance\?/);
    assert(!/defect|at file:/.test(stderr), stderr);
  });

  const text = [...units.values()].map(({ process }) => process.output).join("\n");
  for (const secret of cloud.secrets) assert(!text.includes(secret));
});
