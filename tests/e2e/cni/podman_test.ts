// Podman's networks of the driver flannel, by Debian's Podman and netavark: docs/containers/podman.md.

import { assert, assertEquals, assertMatch } from "@std/assert";
import { GuideCluster } from "../../lab/guide_cluster.ts";
import type { UnderlayHost } from "../../lab/lab.ts";
import { LabPodman } from "../../lab/podman.ts";
import { FLANNELD } from "../../lab/unit.ts";
import { eventually, PREFIX, subnetOf } from "../guide.ts";
import { blocks } from "../pages.ts";

const OPTIONS = "-iface=eth1 -ip-masq";
const SUBNET_ENV = "/run/flannel/subnet.env";
const IMAGE = "docker.io/library/busybox";

/** Addresses that the plugin has leased on a host. */
async function leased(host: UnderlayHost): Promise<string[]> {
  const { leases } = JSON.parse(await host.readTextFile("/run/flannel/cni/netavark.json"));
  return leases.map(({ address }: { address: string }) => address);
}

/** Veth interfaces of a host that are ports of a bridge. */
async function ports(host: UnderlayHost): Promise<number> {
  return JSON.parse(await host.exec(["ip", "-j", "link", "show", "master", "cni0"])).length;
}

Deno.test("docs/containers/podman.md: containers on two hosts reach each other, publish ports, and leave nothing", async () => {
  await using cluster = await GuideCluster.start({ hosts: 2, options: OPTIONS });
  await using stack = new AsyncDisposableStack();
  const [here, there] = cluster.hosts as [UnderlayHost, UnderlayHost];
  const [agent] = await cluster.startAgents();
  const [podman, other] = [
    stack.use(await LabPodman.start(here)),
    stack.use(await LabPodman.start(there)),
  ];
  const [install, create, start, ask] = await blocks("docs/containers/podman.md", "Set it up", 4);
  for (const one of [podman, other]) {
    assertMatch(
      await one.sh(install!),
      /^made \/usr\/libexec\/netavark\/flannel, a link to \S+\/flanneld\n$/,
    );
    assertEquals(await one.sh(create!), "net\n");
  }
  const lease = await subnetOf(here);
  const address = lease.replace("0/24", "2");
  assertEquals((await podman.sh(start!)).split("\n").slice(-2), [address, ""]);
  const name = await podman.podman("exec web hostname");
  assertEquals(await other.sh(ask!.replace("10.20.93.2", address)), name);
  // The address that the asking container had is free again.
  assertEquals([await leased(there), await ports(there)], [[], 0]);

  const [network] = JSON.parse(await podman.podman("network inspect net"));
  assertEquals(
    [network.subnets, network.network_interface, network.dns_enabled],
    [[{ subnet: lease, gateway: lease.replace("0/24", "1") }], "cni0", false],
  );
  await other.run("far", "--network net");
  assertEquals(await other.ping("far", address), 2);
  assertMatch(await other.podman("exec far ip link show eth0"), / mtu 1450 /);

  const [publish] = await blocks("docs/containers/podman.md", "Publish ports", 1);
  await podman.sh(publish!);
  const shop = await podman.podman("exec shop hostname");
  const url = `http://${here.address}:8080/hostname`;
  assertEquals(await there.exec(["busybox", "wget", "-qO-", "-T", "5", url]), shop);
  const inner = (await leased(here)).find((one) => one !== address)!;
  assertEquals(await other.ping("far", inner), 2);
  // Packets to the network leave by the flannel network, others by the bridge.
  const routes = await podman.podman("exec shop ip route");
  assertMatch(routes, /^default via 10\.88\.0\.1 /m);
  assertMatch(routes, /^10\.20\.0\.0\/16 via \S+\.1 dev /m);

  // netavark has made a table in nftables meanwhile: a running agent keeps iptables, the next one may not.
  const problems = async () => {
    const { stdout } = await here.run([FLANNELD, "doctor", "-json"]);
    return JSON.parse(stdout).checks.filter(({ verdict }: { verdict: string }) =>
      !["ok", "unchecked"].includes(verdict)
    );
  };
  assertEquals(await problems(), []);
  await agent!.stop();
  await cluster.startAgent(here);
  assertEquals(await problems(), []);
  assertEquals(await other.ping("far", inner), 2);
  assertEquals(await there.exec(["busybox", "wget", "-qO-", "-T", "5", url]), shop);

  const [remove] = await blocks("docs/containers/podman.md", "Remove it", 1);
  await podman.sh(remove!);
  assertEquals(await leased(here), []);
  assertEquals((await here.run(["ip", "link", "show", "cni0"])).code, 1);
  const { stderr } = await podman.tryPodman("network create -d flannel net");
  assertMatch(stderr, /failed to find driver or plugin "flannel"/);
});

Deno.test("a Podman network of flannel's follows the lease, and needs no agent to connect containers", async () => {
  await using cluster = await GuideCluster.start({ options: OPTIONS });
  await using stack = new AsyncDisposableStack();
  const { host } = cluster;
  const agent = await cluster.startAgent(host);
  const podman = stack.use(await LabPodman.start(host));
  await podman.sh("flanneld cni install -dir /usr/libexec/netavark");
  await podman.podman("network create -d flannel -o mtu=1400 net");
  const base = (await subnetOf(host)).replace("0/24", "");

  await podman.run("chosen", `--network net --ip ${base}50 --mac-address 02:00:00:00:00:07`);
  assertEquals(await podman.addresses("chosen"), [`${base}50/24`]);
  const link = await podman.podman("exec chosen ip link show eth0");
  assertMatch(link, / mtu 1400 .*\n +link\/ether 02:00:00:00:00:07 /);
  // Podman disconnects the container, and asks for the same address and hardware address.
  await podman.podman("network reload chosen");
  assertEquals(
    await podman.podman("exec chosen ip link show eth0").then(withoutIndex),
    withoutIndex(link),
  );
  assertEquals(await podman.addresses("chosen"), [`${base}50/24`]);
  await podman.podman("network disconnect net chosen");
  assertEquals([await leased(host), await ports(host)], [[], 0]);
  await podman.podman("network connect net chosen");
  assertEquals(await podman.addresses("chosen"), [`${base}51/24`]);

  // Several calls at the same time.
  await agent.stop();
  const names = Array.from({ length: 6 }, (_, i) => `c${i}`);
  await Promise.all(names.map((name) => podman.run(name, "--network net")));
  const addresses = await Promise.all(names.map((name) => podman.addresses(name)));
  assertEquals(new Set(addresses.flat()).size, names.length);
  assertEquals(await podman.ping("c0", addresses[5]![0]!.replace("/24", "")), 2);
  await podman.podman(`rm --force --time 0 ${names.slice(1).join(" ")}`);
  assertEquals([(await leased(host)).length, await ports(host)], [2, 2]);

  await cluster.setConfig('{"Network": "10.30.0.0/16", "Backend": {"Type": "vxlan"}}');
  await cluster.startAgent(host);
  await eventually("a new lease", async () => (await subnetOf(host)).startsWith("10.30."));
  const moved = (await subnetOf(host)).replace("0/24", "");
  await podman.run("late", "--network net");
  assertEquals(await podman.addresses("late"), [`${moved}2/24`]);
  assertEquals(await podman.ping("late", `${moved}1`), 2);
  const reload = await podman.tryPodman("network reload c0");
  assertMatch(reload.stderr, /10\.20\.\S+ is no container's address of this host's lease 10\.30\./);
  await podman.podman("restart --time 0 c0 chosen");
  for (const name of ["c0", "chosen"]) {
    assertMatch((await podman.addresses(name)).join(), /^10\.30\.\d+\.\d+\/24$/);
  }
  assertEquals(await podman.ping("late", (await podman.addresses("c0"))[0]!.replace("/24", "")), 2);
});

function withoutIndex(link: string): string {
  return link.replace(/^\d+: eth0@if\d+/, "");
}

Deno.test("Podman networks of several networks of the agent serve one container", async () => {
  const options = `${OPTIONS} -networks=blue,green`;
  await using cluster = await GuideCluster.start({ options, config: null });
  await using stack = new AsyncDisposableStack();
  const { host, etcd } = cluster;
  for (const [i, [name, range]] of [["blue", "10.20"], ["green", "10.30"]].entries()) {
    const config = `{"Network": "${range}.0.0/16", "Backend": {"Type": "vxlan", "VNI": ${i + 1}}}`;
    await etcd.set("v2", `${PREFIX}/${name}/config`, config);
  }
  const agent = await cluster.startAgent(host, { wait: false });
  await agent.ready();
  const podman = stack.use(await LabPodman.start(host));
  await podman.sh("flanneld cni install -dir /usr/libexec/netavark");
  const create = "network create -d flannel -o subnetFile=/run/flannel/networks";
  await podman.podman(`${create}/blue.env blue`);
  await podman.podman(`${create}/green.env -o no_default_route=true green`);
  for (const name of ["blue", "green"]) await podman.run(name, `--network ${name}`);
  await podman.run("both", "--network blue --network green");
  assertMatch(await podman.podman("exec both ip route"), /^default via 10\.20\..*\.1 dev /m);
  for (const name of ["blue", "green"]) {
    const [address] = await podman.addresses(name);
    assertMatch(address!, name === "blue" ? /^10\.20\./ : /^10\.30\./);
    assertEquals(await podman.ping("both", address!.replace("/24", "")), 2, name);
  }
  await podman.podman("rm --force --time 0 both");
  assertEquals([(await leased(host)).length, await ports(host)], [2, 2]);
});

/** Commands that the plugin refuses, and the end of the line that Podman prints. */
const REFUSED: readonly (readonly [string, RegExp])[] = [
  ["network create -d flannel --subnet 10.20.7.0/24 x", /do not take --subnet; leave it out$/],
  ["network create -d flannel --internal x", /do not take --internal; leave it out$/],
  ["network create -d flannel --ipv6 x", /do not take --ipv6; leave it out$/],
  ["network create -d flannel --ipam-driver host-local x", /do not take --ipam-driver; leave it/],
  ["network create -d flannel --interface-name br0 x", /do not take --interface-name; leave it/],
  ["network create -d flannel -o mtu=5 x", /invalid option mtu: "5"; expected a whole number /],
  ["network create -d flannel -o color=red x", /unknown option "color"; flannel networks have mtu/],
  ["network create -d flannel -o subnetFile=/run/x.env x", /\/run\/x\.env does not exist: /],
  [`run --rm --network net --ip 10.99.0.5 ${IMAGE} true`, /10\.99\.0\.5 is no container's address/],
  [`run --rm --network net --ip @2 ${IMAGE} true`, /@2 is in use$/],
  [
    `run --rm --network net --network again ${IMAGE} true`,
    /the container has an address of @0\/24 on eth\d already; connect it to one flannel network$/,
  ],
];

Deno.test("the plugin refuses by one line what a Podman network of flannel's does not have", async () => {
  await using cluster = await GuideCluster.start({ options: OPTIONS });
  await using stack = new AsyncDisposableStack();
  const { host } = cluster;
  const podman = stack.use(await LabPodman.start(host));
  await podman.sh("flanneld cni install -dir /usr/libexec/netavark");
  const refused = async (args: string) => {
    const { code, stderr } = await podman.tryPodman(args);
    assert(code !== 0, args);
    return stderr.trim();
  };
  const noLease =
    /netavark: \/run\/flannel\/subnet\.env does not exist: this host has no lease yet; start flanneld, or set subnetFile to its -subnet-file$/;
  assertMatch(await refused("network create -d flannel net"), noLease);

  await cluster.startAgent(host);
  for (const name of ["net", "again"]) await podman.podman(`network create -d flannel ${name}`);
  await podman.run("one", "--network net");
  const base = (await subnetOf(host)).replace("0/24", "");
  for (const [args, line] of REFUSED) {
    const expected = new RegExp(line.source.replaceAll("@", base.replaceAll(".", "\\.")));
    assertMatch(await refused(args.replaceAll("@", base)), expected);
  }
  assertEquals([await leased(host), await ports(host)], [[`${base}2`], 1]);
  const published = await podman.tryPodman(`run --rm -p 8080:80 --network net ${IMAGE} true`);
  assertEquals(
    [published.code, published.stderr],
    [0, "flannel networks publish no ports: 8080:80/tcp\n"],
  );
  // Podman of a user other than root, in a user namespace.
  const joe = "export HOME=/run/joe XDG_RUNTIME_DIR=/run/joe\n" +
    "install -d -o nobody $HOME && setpriv --reuid=nobody --clear-groups " +
    "podman network create -d flannel x 2>&1 || :";
  assertMatch(
    await podman.sh(joe),
    /flannel networks are for root's containers; run podman as root\n$/,
  );

  await host.exec(["mv", SUBNET_ENV, `${SUBNET_ENV}.kept`]);
  const message = await refused(`run --rm --network net ${IMAGE} true`);
  assertMatch(message, /\/run\/flannel\/subnet\.env does not exist: this host has no lease yet; /);
  // The end of a container needs no file.
  await podman.podman("rm --force --time 0 one");
  assertEquals([await leased(host), await ports(host)], [[], 0]);
});
