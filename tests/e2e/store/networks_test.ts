import { assertEquals, assertMatch } from "@std/assert";
import type { AgentStatus } from "../../../mod/agent/status/status.ts";
import { Lab, type UnderlayHost } from "../../lab/lab.ts";
import { type EtcdApi, LabEtcd } from "../../lab/etcd/lab_etcd.ts";
import { FLANNELD, LabUnit } from "../../lab/unit.ts";
import { eventually, PREFIX, writeSysconfig } from "../guide.ts";

/** Config of each network. */
const CONFIGS = {
  blue: '{"Network":"10.71.0.0/16","Backend":{"Type":"vxlan","VNI":1}}',
  green: '{"Network":"10.72.0.0/16","Backend":{"Type":"vxlan","VNI":2}}',
  red: '{"Network":"10.73.0.0/16","Backend":{"Type":"host-gw"}}',
} as const;

type Network = keyof typeof CONFIGS;
const NETWORKS = Object.keys(CONFIGS) as Network[];

/** A network's lease on a host, from its subnet file; `undefined` without one. */
async function subnetOf(host: UnderlayHost, network: string): Promise<string | undefined> {
  try {
    const text = await host.readTextFile(`/run/flannel/networks/${network}.env`);
    return /^FLANNEL_SUBNET=(.*)\.1\/24$/m.exec(text)?.[1] + ".0";
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** The subnets of all networks on all hosts. */
function subnets(hosts: readonly UnderlayHost[]): Promise<(string | undefined)[][]> {
  return Promise.all(hosts.map((host) => Promise.all(NETWORKS.map((net) => subnetOf(host, net)))));
}

/** Waits until the hosts reach each other in a network. */
async function connected(hosts: readonly UnderlayHost[], network: Network): Promise<void> {
  await eventually(`pings within ${network}`, async () => {
    const addresses = await Promise.all(hosts.map((host) => subnetOf(host, network)));
    if (addresses.includes(undefined)) return false;
    // host-gw has no device that would have the subnet's address.
    if (network === "red") {
      for (const [i, host] of hosts.entries()) {
        await host.exec(["ip", "addr", "replace", `${addresses[i]}/32`, "dev", "lo"]);
      }
    }
    const [one, other] = hosts;
    return await one!.ping(addresses[1]!, { args: ["-I", addresses[0]!] }) === 1 &&
      await other!.ping(addresses[0]!, { args: ["-I", addresses[1]!] }) === 1;
  }, 20_000);
}

async function devices(host: UnderlayHost): Promise<string[]> {
  const text = await host.exec(["ip", "-o", "link", "show"]);
  return [...text.matchAll(/: (flannel[\w.-]+)/g)].map((match) => match[1]!).sort();
}

async function chains(host: UnderlayHost): Promise<string[]> {
  const text = await host.exec(["iptables-save"]);
  return [...text.matchAll(/^:(FLANNEL-\S+)/gm)].map((match) => match[1]!).sort();
}

for (const api of ["v2", "v3"] as EtcdApi[]) {
  Deno.test(`flanneld -watch-networks carries networks side by side on etcd ${api}`, async (t) => {
    await using lab = await Lab.start({ hosts: 2 });
    await using stack = new AsyncDisposableStack();
    const etcd = stack.use(await LabEtcd.start(lab.hosts[0]!));
    const set = (network: string, config: string) =>
      etcd.set(api, `${PREFIX}/${network}/config`, config);
    for (const network of NETWORKS) await set(network, CONFIGS[network]);
    // Each start waits some seconds for it: on one of the two will do.
    if (api === "v2") await set("broken", '{"Network":"10.74.0.0/16","Backend":{"Type":"nosuch"}}');
    const [here] = lab.hosts as [UnderlayHost, UnderlayHost];
    const units: LabUnit[] = [];
    const start = async (host: UnderlayHost) => {
      const unit = stack.use(await LabUnit.start(host, { wait: false }));
      await unit.ready(60_000);
      return unit;
    };
    const options =
      "-iface=eth1 -ip-masq -watch-networks -networks=blue,green,red,broken,late,clash";
    for (const host of lab.hosts) {
      await writeSysconfig(host, etcd, { options });
      units.push(await start(host));
    }

    await t.step("pings pass within each", async () => {
      for (const network of NETWORKS) await connected(lab.hosts, network);
      assertEquals(await devices(here), ["flannel.1", "flannel.2"]);
      assertMatch(units[0]!.process.output, /\] blue: Lease acquired: 10\.71\./);
      if (api === "v2") {
        assertMatch(units[0]!.process.output, /\] broken: .*unknown backend type: nosuch/);
      }
      assertEquals(
        await chains(here),
        [
          ...["FWD", "POSTRTG"].flatMap((name) => NETWORKS.map((net) => `FLANNEL-${name}-${net}`)),
          // Drops of forged packets, where there is a tunnel.
          ...["blue", "green"].map((net) => `FLANNEL-RAW-${net}`),
        ],
      );
    });

    await t.step("KILL and restart keep all subnets", async () => {
      const before = await subnets(lab.hosts);
      await units[0]!.kill();
      units[0] = await start(here);
      for (const network of NETWORKS) await connected(lab.hosts, network);
      assertEquals(await subnets(lab.hosts), before);
      assertEquals(/Repairing|Ignoring subnet/.exec(units[0]!.process.output)?.[0], undefined);
    });

    await t.step("one that clashes is refused, and served once it does not", async () => {
      await set("clash", '{"Network":"10.77.0.0/16","Backend":{"Type":"vxlan","VNI":1}}');
      await units[0]!.process.waitFor(
        /\] clash: .*network "clash" of flanneld \d+ cannot be served: its VNI 1 is used by network "blue"/,
      );
      await set("clash", '{"Network":"10.71.9.0/24","Backend":{"Type":"vxlan","VNI":7}}');
      await units[0]!.process.waitFor(/clash: .*its Network 10.71.9.0\/24 overlaps 10.71.0.0\/16/);
      await set("clash", '{"Network":"10.77.0.0/16","Backend":{"Type":"vxlan","VNI":7}}');
      await units[0]!.process.waitFor(/clash: Wrote subnet file/);
      await connected(lab.hosts, "blue");
      await etcd.removeAll(api, `${PREFIX}/clash`);
      await eventually("clash is gone", async () => !(await devices(here)).includes("flannel.7"));
    });

    await t.step(
      "one comes, one that is not allowed does not, one goes with its traces",
      async () => {
        await set("late", '{"Network":"10.75.0.0/16","Backend":{"Type":"vxlan","VNI":5}}');
        await set("alien", '{"Network":"10.76.0.0/16","Backend":{"Type":"vxlan","VNI":6}}');
        await units[0]!.process.waitFor(/late: Wrote subnet file/);
        await units[0]!.process.waitFor(/Network "alien" is not allowed/);
        assertEquals(await devices(here), ["flannel.1", "flannel.2", "flannel.5"]);
        await etcd.removeAll(api, `${PREFIX}/green`);
        await units[0]!.process.waitFor(/Network removed: green/);
        await eventually(
          "green's traces are gone",
          async () =>
            !(await devices(here)).includes("flannel.2") &&
            !(await chains(here)).some((name) => name.endsWith("-green")) &&
            await subnetOf(here, "green") === undefined,
        );
        await connected(lab.hosts, "blue");
        await connected(lab.hosts, "red");
      },
    );
  });
}

/** Starts an agent beside the unit's, for another prefix or subnet file. */
function agentOf(host: UnderlayHost, etcd: LabEtcd, ...flags: string[]) {
  return host.spawn([
    ...[FLANNELD, `-etcd-endpoints=${etcd.endpoint}`, "-iface=eth1", "-etcd-api=v3"],
    ...["-ip-masq", "-status-socket=none", ...flags],
  ]);
}

Deno.test("flanneld refuses to be a second one for its network, and is one for another", async () => {
  await using lab = await Lab.start({ hosts: 1 });
  await using stack = new AsyncDisposableStack();
  const [host] = lab.hosts as [UnderlayHost];
  const etcd = stack.use(await LabEtcd.start(host));
  await etcd.set("v3", "/one/config", CONFIGS.blue);
  await etcd.set("v3", "/two/config", CONFIGS.green);
  const first = await agentOf(host, etcd, "-etcd-prefix=/one");
  await first.waitFor(/Wrote subnet file/);

  const twin = await agentOf(host, etcd, "-etcd-prefix=/one", "-subnet-file=/run/flannel/b.env");
  assertEquals((await twin.status).code, 1);
  assertMatch(
    twin.output,
    /cannot be served: its Network 10\.71\.0\.0\/16 overlaps 10\.71\.0\.0\/16 of the network of flanneld \d+ with subnet file \/run\/flannel\/subnet\.env/,
  );
  assertEquals(first.running, true);

  const second = await agentOf(host, etcd, "-etcd-prefix=/two", "-subnet-file=/run/flannel/b.env");
  await second.waitFor(/Wrote subnet file/);
  const names = await chains(host);
  const own = ["FLANNEL-FWD", "FLANNEL-POSTRTG", "FLANNEL-RAW"];
  assertEquals(names.filter((name) => !name.includes("-file")), own);
  assertEquals(names.length, 6);
  // Neither mistakes the other's objects, or its own, for damage.
  await new Promise((resolve) => setTimeout(resolve, 6_000));
  for (const agent of [first, second]) {
    assertEquals(/Repairing|were missing/.exec(agent.output)?.[0], undefined);
  }

  await second.stop();
  await host.exec([FLANNELD, "cleanup", "-subnet-file=/run/flannel/b.env"]);
  assertEquals(await devices(host), ["flannel.1"]);
  assertEquals(await chains(host), own);
  assertEquals(first.running, true);
  await first.stop();
});

Deno.test("flanneld removes the device of a backend that was changed while it was stopped", async () => {
  await using lab = await Lab.start({ hosts: 1 });
  await using stack = new AsyncDisposableStack();
  const [host] = lab.hosts as [UnderlayHost];
  const etcd = stack.use(await LabEtcd.start(host));
  for (
    const [backend, own] of [
      ['"vxlan","VNI":1', "flannel.1"],
      ['"vxlan","VNI":2', "flannel.2"],
      ['"udp"', "flannel0,flannel0-gro"],
      ['"vxlan","VNI":2', "flannel.2"],
    ] as const
  ) {
    await etcd.set("v3", "/one/config", `{"Network":"10.71.0.0/16","Backend":{"Type":${backend}}}`);
    const agent = await agentOf(host, etcd, "-etcd-prefix=/one");
    await agent.waitFor(/Wrote subnet file/);
    await eventually(`only ${own}`, async () => (await devices(host)).join() === own);
    await agent.stop();
    assertEquals(/Repairing|Ignoring subnet/.exec(agent.output)?.[0], undefined);
  }
});

Deno.test("flanneld carries two udp networks, each by a device and a port of its own", async () => {
  await using lab = await Lab.start({ hosts: 2 });
  await using stack = new AsyncDisposableStack();
  const [here, there] = lab.hosts as [UnderlayHost, UnderlayHost];
  const etcd = stack.use(await LabEtcd.start(here));
  const config = (second: number, port: number) =>
    `{"Network":"10.${second}.0.0/16","Backend":{"Type":"udp","Port":${port}}}`;
  await etcd.set("v3", "/nets/a/config", config(81, 8285));
  await etcd.set("v3", "/nets/b/config", config(82, 8286));
  await etcd.set("v3", "/nets/c/config", config(83, 8286));
  const start = (host: UnderlayHost) =>
    agentOf(host, etcd, "-etcd-prefix=/nets", "-networks=a,b", "-subnet-dir=/run/flannel/n");
  const addresses = async () => {
    const text = await there.exec(["ip", "-o", "-4", "addr", "show"]);
    return [...text.matchAll(/(flannel\d) +inet ([\d.]+)\/32/g)].map(([, device, ip]) => ({
      device,
      ip: ip!,
    }));
  };
  let agent = await start(here);
  const other = await start(there);
  for (const process of [agent, other]) {
    for (const network of ["a", "b"]) {
      await process.waitFor(new RegExp(`${network}: Firewall rules in place`));
    }
  }
  const before = await addresses();
  assertEquals(before.map(({ device }) => device).sort(), ["flannel0", "flannel1"]);
  const reach = () =>
    eventually(
      "pings in both",
      async () =>
        (await Promise.all(before.map(({ ip }) => here.ping(ip)))).every((count) => count === 1),
    );
  await reach();
  // The second of two networks with one port is refused, in a line that names the first.
  const third = await agentOf(
    here,
    etcd,
    ...["-etcd-prefix=/nets", "-networks=c", "-subnet-dir=/run/flannel/n"],
  );
  await third.waitFor(/c: .*its UDP port 8286 is used by network "b" of flanneld/);
  await third.stop();

  // A network without a config does not prevent the report of the others.
  const flags = [`-etcd-endpoints=${etcd.endpoint}`, "-etcd-prefix=/nets", "-iface=eth1"];
  const several = [...flags, "-subnet-dir=/run/flannel/n", "-networks=none,a,b"];
  const plan = await here.run([FLANNELD, "plan", ...several]);
  assertEquals(plan.code, 1);
  assertMatch(plan.stdout, /^network none:\nnetwork a:\n[^]*^network b:\n/m);
  assertMatch(plan.stderr, /\/nets\/none\/config/);

  await agent.kill();
  agent = await start(here);
  await agent.waitFor(/b: Wrote subnet file/);
  await agent.waitFor(/a: Wrote subnet file/);
  await reach();
  assertEquals(await devices(here), ["flannel0", "flannel0-gro", "flannel1", "flannel1-gro"]);
  assertEquals(/Repairing|Ignoring subnet/.exec(agent.output)?.[0], undefined);

  // cleanup without the agent's flags, and with what an agent of one network has left of this range.
  const held = await devices(here);
  const one = ["-subnet-file=/run/flannel/subnet.env", `-etcd-endpoints=${etcd.endpoint}`];
  const cleanupOfOne = () => here.run([FLANNELD, "cleanup", ...one]);
  const nothing = await cleanupOfOne();
  assertEquals(nothing.code, 0, nothing.stderr);
  assertMatch(
    nothing.stdout,
    /^kept the kernel objects of network "a" of flanneld \d+, which runs/m,
  );
  assertMatch(nothing.stdout, /^nothing to remove$/m);
  await here.writeTextFile(
    "/run/flannel/subnet.env",
    "FLANNEL_NETWORK=10.81.0.0/16\nFLANNEL_SUBNET=10.81.9.1/24\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=false\n",
  );
  assertEquals(
    (await cleanupOfOne()).stdout.match(/^removed .*$/mg),
    ["removed file /run/flannel/subnet.env"],
  );
  assertEquals(await devices(here), held);
  assertEquals(/Repairing/.exec(agent.output)?.[0], undefined);
  await reach();

  await agent.stop();
  for (const network of ["a", "b"]) {
    const flags = ["-networks=" + network, "-subnet-dir=/run/flannel/n"];
    await here.exec([FLANNELD, "cleanup", `-etcd-endpoints=${etcd.endpoint}`, ...flags]);
    assertEquals((await devices(here)).length, network === "a" ? 2 : 0);
  }
  assertEquals(await chains(here), []);
  await other.stop();
  const cleanup = await there.run([FLANNELD, "cleanup", "-release", ...several]);
  assertMatch(cleanup.stdout, /^removed lease 10\.81\.[^]*^removed lease 10\.82\./m);
  assertEquals(await devices(there), []);
});

Deno.test("flanneld status names the network that waits for its config, and what it waits for", async () => {
  await using lab = await Lab.start({ hosts: 1 });
  await using stack = new AsyncDisposableStack();
  const [host] = lab.hosts as [UnderlayHost];
  const etcd = stack.use(await LabEtcd.start(host));
  await etcd.set("v2", "/nets/blue/config", CONFIGS.blue);
  const flags = [`-etcd-endpoints=${etcd.endpoint}`, "-iface=eth1"];
  const several = ["-etcd-prefix=/nets", "-networks=blue,green"];
  const status = (...more: string[]) => host.run([FLANNELD, "status", ...more]);
  const waiting = async () =>
    (JSON.parse((await status("-json")).stdout) as AgentStatus).waiting.map(({ name }) => name);

  const agent = stack.use(await host.spawn([FLANNELD, ...flags, ...several]));
  await agent.waitFor(/blue: Wrote subnet file/);
  await agent.waitFor(/green: .*failed to retrieve network config/);
  const { code, stdout } = await status();
  assertEquals(code, 1, stdout);
  assertMatch(stdout, /^health +ready, with warnings$/m);
  assertMatch(stdout, /^network +blue, 10\.71\.0\.0\/16, ready$/m);
  assertMatch(
    stdout,
    /^network +green, not known yet, waiting\n +! failed to retrieve network config: [^]*\/nets\/green/m,
  );
  assertEquals(await waiting(), ["green"]);
  await etcd.set("v2", "/nets/green/config", CONFIGS.green);
  await agent.waitFor(/green: Wrote subnet file/);
  assertEquals(await waiting(), []);
  assertMatch((await status()).stdout, /^network +green, 10\.72\.0\.0\/16, ready$/m);
  await agent.stop();

  // One network alone is no different.
  const alone = stack.use(await host.spawn([FLANNELD, ...flags, "-etcd-prefix=/one"]));
  await alone.waitFor(/failed to retrieve network config/);
  assertMatch((await status()).stdout, /^network +not known yet, waiting\n +! failed to retrieve/m);
});
