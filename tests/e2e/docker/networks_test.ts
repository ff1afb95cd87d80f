// Docker's networks by the agent's plugin (-docker-plugin), on real dockerds: docs/containers/docker-networks.md.

import { assert, assertEquals, assertMatch } from "@std/assert";
import { type DockerVersion, LabContainer, LabDocker } from "../../lab/docker.ts";
import { GuideCluster } from "../../lab/guide_cluster.ts";
import type { UnderlayHost } from "../../lab/lab.ts";
import { FLANNELD } from "../../lab/unit.ts";
import { eventually, PREFIX, subnetOf } from "../guide.ts";
import { blocks } from "../pages.ts";

const [SETTINGS, , CREATE] = await blocks("docs/containers/docker-networks.md", "Set up", 3) as [
  string,
  string,
  string,
];
const OPTIONS = `-iface=eth1 ${/^FLANNEL_OPTIONS="(.*)"$/m.exec(SETTINGS)![1]}`;
const DRIVER = "--driver flannel --ipam-driver flannel".split(" ");
const TIMEOUT_MS = 20_000;

/** Starts dockerd without the options that the unit wrote for a Docker that has the lease on docker0. */
async function startDocker(
  host: UnderlayHost,
  version: DockerVersion,
  args: readonly string[] = [],
): Promise<LabDocker> {
  await host.exec(["rm", "-f", "/run/flannel/docker"]);
  return await LabDocker.start(host, { version, args });
}

/** Devices of Docker's networks. */
async function devices(host: UnderlayHost): Promise<string[]> {
  const names = (await host.exec(["ip", "-br", "link"])).split("\n").map((line) =>
    line.split(/[@\s]/)[0]!
  );
  return names.filter((name) => /^fl[-hc]/.test(name));
}

async function addressesOn(host: UnderlayHost, device: string): Promise<string[]> {
  const text = await host.exec(["ip", "-br", "-4", "addr", "show", device]);
  return text.trim().split(/\s+/).slice(2);
}

const VERSIONS: readonly DockerVersion[] = ["installed", "testing"];

for (const version of VERSIONS) {
  Deno.test(`flanneld -docker-plugin connects containers by name and across hosts, Docker ${version}`, async () => {
    await using cluster = await GuideCluster.start({ hosts: 2, options: OPTIONS });
    await using stack = new AsyncDisposableStack();
    const [here, there] = cluster.hosts as [UnderlayHost, UnderlayHost];
    let [agent] = await cluster.startAgents();
    const docker = stack.use(await startDocker(here, version, ["--live-restore"]));
    const other = stack.use(await startDocker(there, version));
    const create = CREATE.replace("NAME", "net").trim().split(" ").slice(1);
    for (const one of [docker, other]) await one.docker(create);
    const run = async (one: LabDocker, name: string) => {
      const container = await one.run(name, ["--network", "net"]);
      return { container, address: await container.address() };
    };
    const a = await run(docker, "one");
    const b = await run(docker, "two");
    const far = await run(other, "far");
    const [lease, farLease] = [await subnetOf(here), await subnetOf(there)];
    const base = lease.replace(/0\/24$/, "");
    assertEquals([a.address, b.address], [`${base}2`, `${base}3`]);
    assertEquals(far.address, farLease.replace(/0\/24$/, "2"));
    const reach = async (from: LabContainer, targets: readonly string[]) => {
      for (const target of targets) assertEquals(await from.ping(target), 1, target);
    };
    await reach(a.container, ["two", b.address, far.address, `${base}1`, there.address]);
    await reach(far.container, [a.address, b.address]);
    assertMatch(await a.container.exec(["ip", "link", "show", "eth0"]), / mtu 1450 /);

    // A container on docker0, too, which publishes a port and has the default route.
    const [publish] = await blocks("docs/containers/docker-networks.md", "Publish ports", 1);
    const image = "--stop-signal KILL busybox:lab tail -f /dev/null";
    await here.exec(["sh", "-c", publish!.replace("NAME", "net").replace("nginx", image)]);
    const web = new LabContainer(docker, "web");
    await web.serve(80);
    const url = `http://${here.address}:8080/`;
    assertEquals(await there.exec(["busybox", "wget", "-qO-", "-T", "5", url]), "hello\n");
    const inNet = "{{.NetworkSettings.Networks.net.IPAddress}}";
    const webAddress = (await docker.docker(["inspect", "--format", inNet, "web"])).trim();
    await reach(web, ["one", far.address]);
    await reach(far.container, [webAddress]);
    await web.remove();

    // Packets pass while no agent runs, and the next one knows all addresses.
    const endings = [() => agent!.stop(), () => agent!.kill()];
    for (const [i, end] of endings.entries()) {
      await end();
      await reach(a.container, ["two", far.address]);
      agent = await cluster.startAgent(here);
      const { container, address } = await run(docker, `c${i}`);
      assert(![a.address, b.address].includes(address), address);
      await reach(container, ["one", "two", far.address]);
      await container.remove();
    }
    // dockerd waits for an agent that starts.
    await agent!.kill();
    const late = run(docker, "late");
    agent = await cluster.startAgent(here);
    await reach((await late).container, ["one", far.address]);
    await (await late).container.remove();
    // Its containers run on while dockerd restarts, and it knows its networks after.
    await docker.restart();
    await reach(a.container, ["two", far.address]);
    await reach((await run(docker, "four")).container, ["one", far.address]);

    // Another range: containers that start have the new one, without a restart of dockerd.
    await cluster.setConfig('{"Network": "10.30.0.0/16", "Backend": {"Type": "vxlan"}}');
    const moved = async (host: UnderlayHost) => (await subnetOf(host)).startsWith("10.30.");
    for (const host of cluster.hosts) await eventually("a new lease", () => moved(host));
    await docker.docker(["restart", "one"]);
    await other.docker(["restart", "far"]);
    const farAddress = await far.container.address();
    assertMatch(`${await a.container.address()} ${farAddress}`, /^10\.30\.\S+ 10\.30\./);
    await reach(a.container, ["two", b.address, farAddress]);
    const [bridge] = (await devices(here)).filter((name) => name.startsWith("fl-"));
    assertEquals((await addressesOn(here, bridge!)).length, 2);
    await docker.docker(["restart", "two", "four"]);
    const [subnet] = await addressesOn(here, bridge!);
    assertEquals(await addressesOn(here, bridge!), [subnet]);
    assertEquals(subnet, (await subnetOf(here)).replace(/0\/24$/, "1/24"));
    await reach(a.container, ["two", "four", farAddress]);

    await docker.docker(["rm", "--force", "one", "two", "four"]);
    await docker.docker(["network", "rm", "net"]);
    assertEquals(await devices(here), []);
    await docker.docker(["network", "create", ...DRIVER, "again"]);
    const again = await docker.run("five", ["--network", "again"]);
    await reach(again, [farAddress]);
    const doctor = JSON.parse((await here.run([FLANNELD, "doctor", "-json"])).stdout);
    const verdicts = doctor.checks.filter(({ verdict }: { verdict: string }) => verdict !== "ok");
    assertEquals(verdicts, []);
    await agent.stop();
    const cleanUp = async () => {
      const { stdout, stderr } = await here.run([FLANNELD, "cleanup"]);
      return stdout + stderr;
    };
    assertMatch(
      await cleanUp(),
      /kept .*device fl-\S+ \(Docker network \w+\): 1 container on it; stop/i,
    );
    // dockerd waits long for a plugin that is not there.
    agent = await cluster.startAgent(here);
    await again.remove();
    await agent.stop();
    assertMatch(await cleanUp(), /removed device fl-\S+ \(Docker network \w+\)/i);
    assertEquals(await devices(here), []);
    await far.container.remove();
  });
}

/** Commands of Docker's that the plugin refuses, and the line that Docker prints. */
const REFUSED: readonly (readonly [string, RegExp])[] = [
  [
    "network create -d flannel x",
    /remote: \S+ is not in this host's lease @: add --ipam-driver flannel, or --subnet with a part of the lease$/,
  ],
  [
    "network create -d flannel --ipam-driver flannel --subnet 10.99.0.0/24 x",
    /remote: 10\.99\.0\.0\/24 is not in this host's lease @: give --subnet a part of it, or leave --subnet out$/,
  ],
  [
    "network create -d flannel --ipam-driver flannel x",
    /remote: Docker network [0-9a-f]{12} has @ already: remove it, or give each network a part of the lease with --subnet$/,
  ],
  [
    "network create -d flannel --ipam-driver flannel --ipam-opt network=blue x",
    /remote: this host has no lease of network "blue"$/,
  ],
  [
    "run --rm -p 8080:80 --network net busybox:lab true",
    /remote: flannel networks publish no ports/,
  ],
];

Deno.test("flanneld -docker-plugin refuses what cannot be by one line, and serves parts of the lease", async () => {
  await using cluster = await GuideCluster.start({ options: OPTIONS, config: null });
  await using stack = new AsyncDisposableStack();
  const { host } = cluster;
  const agent = await cluster.startAgent(host, { wait: false });
  await agent.process.waitFor("Serving Docker's network plugin on");
  const docker = stack.use(await startDocker(host, "installed"));
  const create = ["network", "create", ...DRIVER];
  const refused = async (args: readonly string[]) => {
    const { code, stderr } = await docker.tryDocker(args);
    assert(code !== 0, args.join(" "));
    return stderr.trim();
  };
  assertMatch(
    await refused([...create, "net"]),
    /remote: this host has no lease yet; flanneld status shows the reason$/,
  );
  await cluster.setConfig('{"Network": "10.20.0.0/16", "Backend": {"Type": "host-gw"}}');
  await agent.ready();
  const lease = await subnetOf(host);

  await host.exec(["ip", "addr", "add", lease.replace("0/24", "1/24"), "dev", "docker0"]);
  assertMatch(
    await refused([...create, "net"]),
    /remote: docker0 has \S+\.1\/24 of this host's lease: start dockerd without --bip, or remove that address$/,
  );
  await host.exec(["ip", "addr", "del", lease.replace("0/24", "1/24"), "dev", "docker0"]);

  await docker.docker([...create, "net"]);
  for (const [command, line] of REFUSED) {
    const expected = new RegExp(line.source.replaceAll("@", lease.replaceAll(/[./]/g, "\\$&")));
    assertMatch((await refused(command.split(" "))).split("\n")[0]!, expected);
  }
  await docker.docker(["network", "rm", "net"]);

  const halves = ["0/25", "128/25"].map((end) => lease.replace("0/24", end));
  for (const [i, half] of halves.entries()) {
    await docker.docker([...create, "--subnet", half, `half${i}`]);
  }
  const low = await docker.run("low", ["--network", "half0"]);
  const chosen = lease.replace("0/24", "200");
  const high = await docker.run("high", ["--network", "half1", "--ip", chosen]);
  assertEquals(await low.address(), lease.replace("0/24", "2"));
  assertEquals(await low.ping(chosen), 1);
  assertMatch(
    await refused(["run", "--network", "half1", "--ip", chosen, "busybox:lab", "true"]),
    new RegExp(`remote: ${chosen} is in use\\.?$`, "m"),
  );
  // The address of a container that was killed is free again.
  await high.remove();
  const next = await docker.run("next", ["--network", "half1", "--ip", chosen]);
  assertEquals(await next.ping(await low.address()), 1);
  for (const one of [low, next]) await one.remove();
  await eventually("no interface is left", async () => {
    return (await devices(host)).filter((name) => !name.startsWith("fl-")).length === 0;
  }, TIMEOUT_MS);
});

Deno.test("flanneld -docker-plugin serves a Docker network of each of several networks", async () => {
  const options = `${OPTIONS} -networks=blue,green`;
  await using cluster = await GuideCluster.start({ options, config: null });
  await using stack = new AsyncDisposableStack();
  const { host, etcd } = cluster;
  const ranges = { blue: "10.20.0.0/16", green: "10.30.0.0/16" };
  for (const [i, [name, range]] of Object.entries(ranges).entries()) {
    const config = `{"Network": "${range}", "Backend": {"Type": "vxlan", "VNI": ${i + 1}}}`;
    await etcd.set("v2", `${PREFIX}/${name}/config`, config);
  }
  // The unit's mk-docker-opts.sh is for one network.
  const agent = await cluster.startAgent(host, { wait: false });
  await agent.ready();
  const docker = stack.use(await startDocker(host, "installed"));
  assertMatch(
    (await docker.tryDocker(["network", "create", ...DRIVER, "net"])).stderr,
    /remote: this host has leases of several networks: choose with --ipam-opt network=NAME among /,
  );
  for (const [name, range] of Object.entries(ranges)) {
    await docker.docker(["network", "create", ...DRIVER, "--ipam-opt", `network=${name}`, name]);
    const container = await docker.run(`in-${name}`, ["--network", name]);
    assertEquals((await container.address()).split(".")[1], range.split(".")[1]);
    await container.remove();
  }
});
