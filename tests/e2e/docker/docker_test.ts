/** Docker 28, which drops packets of other hosts to containers, beside each backend. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { type LabContainer, LabDocker } from "../../lab/docker.ts";
import { GuideCluster } from "../../lab/guide_cluster.ts";
import type { LabHost } from "../../lab/host.ts";
import type { UnderlayHost } from "../../lab/lab.ts";
import { FLANNELD } from "../../lab/unit.ts";
import { IpSets } from "../../../mod/sys/mod.ts";
import { BACKENDS, eventually, type GuideBackend, subnetOf } from "../guide.ts";
import { stateOf } from "../host_state.ts";

/** How long anything may take on a machine that runs other tests, in milliseconds. */
const TIMEOUT_MS = 60_000;

const TESTING = { version: "testing", args: ["--live-restore"] } as const;

/** A page's text as somebody gets it; `undefined` when it does not come. */
async function page(from: LabHost | LabContainer, url: string): Promise<string | undefined> {
  const command = ["busybox", "wget", "-T", "2", "-q", "-O", "-", `http://${url}/`];
  return await from.exec(command).catch(() => undefined);
}

/**
 * The rules in Docker's chains accept packets of a device (vxlan, udp), of peers' addresses (host-gw), or of both
 * (DirectRouting). Backends of one kind have the same rules, so each test meets the kinds that differ for it, and each
 * backend is in one test. guide_test.ts shows that containers beside Docker 28 reach each other by each backend.
 */
const [VXLAN, UDP, HOST_GW] = BACKENDS as [GuideBackend, GuideBackend, GuideBackend];

/** Hosts on one Ethernet send packets of containers as they are, others by the device. */
const DIRECT_ROUTING = {
  type: "vxlan with DirectRouting",
  config: '{"Network": "10.20.0.0/16", "Backend": {"Type": "vxlan", "DirectRouting": true}}',
};

for (const { type, config } of [VXLAN, DIRECT_ROUTING]) {
  Deno.test(`flanneld opens Docker 28's containers to the overlay alone, by ${type}`, async () => {
    await using cluster = await GuideCluster.start({ hosts: 3, config });
    await using stack = new AsyncDisposableStack();
    const [here, there, neighbour] = cluster.hosts as [UnderlayHost, UnderlayHost, UnderlayHost];
    const units = [await cluster.startAgent(here), await cluster.startAgent(there)];
    const [docker, other] = await Promise.all(
      [here, there].map(async (host) => stack.use(await LabDocker.start(host, TESTING))),
    ) as [LabDocker, LabDocker];
    const open = await docker.run("open", ["--publish", "8080:80"]);
    const elsewhere = await other.run("elsewhere");
    const address = await open.address();
    for (const port of [80, 7000]) await open.serve(port);

    await eventually(
      "the containers reach each other",
      async () =>
        await elsewhere.ping(address) === 1 && await open.ping(await elsewhere.address()) === 1,
      TIMEOUT_MS,
    );
    assertEquals(await page(elsewhere, `${address}:7000`), "hello\n", "an unpublished port");
    assertEquals(await page(elsewhere, `${here.address}:8080`), "hello\n", "a published port");

    // A host without an agent knows the way all the same.
    await neighbour.exec(["ip", "route", "add", await subnetOf(here), "via", here.address]);
    await neighbour.exec(["ip", "addr", "add", "10.20.255.9/32", "dev", "lo"]);
    const before = await open.echoRequests();
    const [pings, pingsOfNetwork, unpublished, published] = await Promise.all([
      neighbour.ping(address),
      neighbour.ping(address, { args: ["-I", "10.20.255.9"] }),
      page(neighbour, `${address}:7000`),
      page(neighbour, `${address}:80`),
    ]);
    assertEquals([pings, pingsOfNetwork], [0, 0]);
    assertEquals(unpublished, undefined);
    assertEquals(published, undefined, "not by its own address");
    assertEquals(await page(neighbour, `${here.address}:8080`), "hello\n");
    assertEquals(await open.echoRequests(), before, "no echo request of the neighbour's arrived");

    // An internal network is nobody's but its own.
    await docker.docker(["network", "create", "--internal", "inner"]);
    const inner = await docker.run("inner", ["--network", "inner"]);
    const hidden = await inner.address();
    await there.exec(["ip", "route", "add", `${hidden}/32`, "via", here.address]);
    assertEquals(await Promise.all([open, elsewhere].map((from) => from.ping(hidden))), [0, 0]);
    assertEquals(await inner.echoRequests(), 0);

    // A restart of dockerd, as at an update.
    const [received] = await Promise.all([
      elsewhere.ping(address, { count: 100, args: ["-i", "0.05"] }),
      docker.restart(),
    ]);
    assertEquals(received, 100);
    assertEquals(await page(elsewhere, `${address}:7000`), "hello\n");
    for (const { process } of units) assertEquals(process.output.match(/^[WEF]\d{4} .*/gm), null);
    await open.remove();
  });
}

/** Commands that remove flanneld's rules, or a part of them. */
const DAMAGE = [
  "iptables -t raw -F PREROUTING",
  "iptables -F DOCKER-USER",
  "iptables -F FLANNEL-IN",
  "iptables -t raw -F FLANNEL-RAW",
  "iptables -t raw -F; iptables -t raw -X",
  "iptables -t raw -D PREROUTING -m comment --comment 'flanneld overlay' -j FLANNEL-RAW && " +
  "iptables -t raw -A PREROUTING -m comment --comment 'flanneld overlay' -j FLANNEL-RAW",
];

/** True when the rules in Docker's chains are there, and reached before Docker's own. */
async function isInPlace(host: UnderlayHost): Promise<boolean> {
  const lines = (await host.exec(["iptables-save"])).split("\n");
  const jumps = lines.filter((line) => /-j FLANNEL-(IN|RAW)$/.test(line));
  const accepts = lines.filter((line) => /^-A FLANNEL-(IN|RAW) .* -j ACCEPT$/.test(line));
  const raw = lines.filter((line) =>
    line.startsWith("-A PREROUTING") && / (DROP|FLANNEL-RAW)$/.test(line)
  );
  return jumps.length === 2 && accepts.length === 2 && raw[0]!.endsWith("FLANNEL-RAW");
}

// By host-gw, whose rules need the set of peers besides.
Deno.test("flanneld keeps its rules in Docker 28's chains, whoever comes first", async () => {
  await using cluster = await GuideCluster.start({ hosts: 2, config: HOST_GW.config });
  await using stack = new AsyncDisposableStack();
  const [here, there] = cluster.hosts as [UnderlayHost, UnderlayHost];
  await cluster.startAgent(there);
  const far = await stack.use(await LabDocker.start(there, TESTING)).run("far");
  // Docker first, on a bridge of its own; the agent's lease becomes docker0's at the restart.
  const docker = stack.use(await LabDocker.start(here, { version: "testing" }));
  const first = await cluster.startAgent(here);
  await first.process.waitFor(/docker 28\.\S+ found, firewall backend iptables$/m);
  await docker.restart();
  const near = await docker.run("near");
  const address = await near.address();
  const reaches = async () => await far.ping(address) === 1;
  await eventually("the container of a Docker that was first", reaches, TIMEOUT_MS);

  for (const damage of DAMAGE) {
    await here.exec(["sh", "-c", damage]);
    await eventually(`a repair after ${damage}`, () => isInPlace(here), TIMEOUT_MS);
    assert(await reaches(), damage);
  }
  await first.stop();
  assert(await reaches(), "rules outlive the agent");
  await here.exec(["sh", "-c", "iptables -F DOCKER-USER; iptables -t raw -F FLANNEL-RAW"]);
  assert(!await reaches());
  const second = await cluster.startAgent(here);
  await eventually("a repair at the start", reaches, TIMEOUT_MS);
  using sets = new IpSets({ netns: `/proc/${here.pid}/ns/net` });
  const elements = () => sets.elements("flannel-peers").map(String).sort();
  const wanted = [await subnetOf(there), `${there.address}/32`].sort();
  assertEquals(elements(), wanted);
  sets.delete("flannel-peers", sets.elements("flannel-peers"));
  await eventually(
    "a repair of the set",
    () => Promise.resolve(elements().length === 2),
    TIMEOUT_MS,
  );
  assertEquals(elements(), wanted);
  await second.stop();
  await near.remove();
});

for (const { type, config } of [UDP, HOST_GW]) {
  Deno.test(`flanneld plan shows, and cleanup removes, its rules in Docker 28's chains, by ${type}`, async () => {
    await using cluster = await GuideCluster.start({ hosts: 2, config, etcdOn: 1 });
    await using stack = new AsyncDisposableStack();
    const [here, there] = cluster.hosts as [UnderlayHost, UnderlayHost];
    await cluster.startAgent(there);
    stack.use(await LabDocker.start(here, TESTING));
    // iptables makes its table when it has a rule for it.
    const rule = "iptables -t raw -% PREROUTING -j ACCEPT";
    for (const letter of ["A", "D"]) await here.exec(rule.replace("%", letter).split(" "));
    const before = await stateOf(here);
    const plan = async () => (await here.run([FLANNELD, "plan"])).stdout;
    const rules = [
      /^\+ firewall iptables -t raw -A FLANNEL-RAW -i \S+ .* -j ACCEPT$/m,
      /^\+ firewall iptables -t filter -A FLANNEL-IN -i \S+ .* -j ACCEPT$/m,
      /^\+ firewall iptables -t raw -I PREROUTING 1 .* -j FLANNEL-RAW$/m,
      /^\+ firewall iptables -t filter -A DOCKER-USER .* -j FLANNEL-IN$/m,
      ...(type === "host-gw"
        ? [
          /^\+ firewall ipset create flannel-peers hash:net$/m,
          new RegExp(`^\\+ firewall ipset add flannel-peers ${await subnetOf(there)}$`, "m"),
          new RegExp(`^\\+ firewall ipset add flannel-peers ${there.address}/32$`, "m"),
        ]
        : []),
    ];
    const first = await plan();
    for (const rule of rules) assertMatch(first, rule);
    assertEquals(await stateOf(here), before, "plan changes nothing");

    const agent = await cluster.startAgent(here);
    assertEquals((await plan()).match(/^[-+] firewall .*$/gm), null);
    await here.exec(["iptables", "-F", "FLANNEL-IN"]);
    await agent.stop();
    const left = (await here.run([FLANNELD, "cleanup", "-dry-run"])).stdout;
    for (const name of ["FLANNEL-IN", "FLANNEL-RAW"]) {
      assertMatch(left, new RegExp(`would remove firewall rule iptables .*${name}`));
    }
    assertEquals(left.includes("ipset create flannel-peers"), type === "host-gw");
    const cleaned = await here.run([FLANNELD, "cleanup"]);
    assertEquals(cleaned.code, 0, cleaned.stderr);
    assertEquals(await stateOf(here), before);
    using sets = new IpSets({ netns: `/proc/${here.pid}/ns/net` });
    assertEquals(sets.header("flannel-peers"), undefined);
  });
}

/** Hosts on which flanneld leaves Docker's chains alone: without chains, or with the flag. */
const UNTOUCHED = [
  { why: "without iptables", args: ["--iptables=false"], options: "-iface=eth1" },
  { why: "with -docker-rules=off", args: [], options: "-iface=eth1 -docker-rules=off" },
];

for (const { why, args, options } of UNTOUCHED) {
  Deno.test(`flanneld makes no rule in Docker 28's chains ${why}`, async () => {
    await using cluster = await GuideCluster.start({ config: HOST_GW.config, options });
    await using stack = new AsyncDisposableStack();
    const { host } = cluster;
    stack.use(await LabDocker.start(host, { version: "testing", args }));
    const { process } = await cluster.startAgent(host);
    await process.waitFor(/Firewall rules in place/);
    const saved = await host.exec(["iptables-save"]);
    assertMatch(saved, /-j FLANNEL-FWD/);
    assertEquals(saved.match(/^.*FLANNEL-(IN|RAW).*$/gm), null);
    using sets = new IpSets({ netns: `/proc/${host.pid}/ns/net` });
    assertEquals(sets.header("flannel-peers"), undefined);
  });
}
