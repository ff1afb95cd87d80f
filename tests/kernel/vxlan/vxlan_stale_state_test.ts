import { assertEquals, assertNotEquals } from "@std/assert";
import type { BackendHost } from "../../../backends/testing/backend_lab.ts";
import { Prefix } from "../../../mod/ip/mod.ts";
import { LeaseSet } from "../../../mod/subnet/mod.ts";
import {
  bridge,
  deviceOf,
  ip,
  macOf,
  prepareVxlan,
  test,
  vxlanLease,
  withoutIdentity,
} from "./vxlan_lab.ts";

/** Hosts, and the objects that a predecessor left. */
const PRESENT = "172.28.128.101";
const GONE = "172.28.128.140";
const RENEWED = "172.28.128.102";

/** The leases of today. */
function leases(): LeaseSet {
  return new LeaseSet([
    vxlanLease("10.20.2.0/24", PRESENT),
    vxlanLease("10.20.3.0/24", RENEWED),
  ]);
}

/** The device as 0.7.1 and newer flannel make it: both leave the port to be the kernel's 8472. */
async function makeDevice(host: BackendHost): Promise<void> {
  await ip(
    host,
    `link add flannel.1 type vxlan id 1 dev eth1 local ${host.address} dstport 8472 nolearning`,
  );
  await ip(host, "link set flannel.1 up");
}

/** Objects that flannel 0.7.1 leaves: flannel-behaviour 5.3. */
async function leaveAs071(host: BackendHost): Promise<void> {
  await makeDevice(host);
  // It never removes the addresses of former leases.
  for (const base of ["10.20.9.0", "10.20.7.0", "10.20.1.0"]) {
    await ip(host, `address add ${base}/32 dev flannel.1`);
  }
  await ip(host, "route add 10.20.0.0/16 dev flannel.1 scope global");
  for (
    const [mac, publicIP] of [
      [macOf(PRESENT), PRESENT],
      [macOf(GONE), GONE],
      // The peer was rebooted and has another MAC now; its old entry stays.
      ["0a:00:00:00:00:01", RENEWED],
    ]
  ) await bridge(host, `fdb add ${mac} dev flannel.1 dst ${publicIP} self permanent`);
  for (
    const [address, mac, state] of [
      ["10.20.2.0", macOf(PRESENT), "reachable"],
      ["10.20.2.17", macOf(PRESENT), "reachable"],
      ["10.20.3.4", "0a:00:00:00:00:01", "stale"],
      ["10.20.40.2", macOf(GONE), "reachable"],
    ]
  ) await ip(host, `neighbour add ${address} lladdr ${mac} dev flannel.1 nud ${state}`);
}

/** Objects that newer flannel leaves: flannel-behaviour 5.4. */
async function leaveAs020(host: BackendHost): Promise<void> {
  await makeDevice(host);
  await ip(host, "address add 10.20.1.0/32 dev flannel.1");
  for (
    const [subnet, mac, publicIP] of [
      ["10.20.2.0", macOf(PRESENT), PRESENT],
      ["10.20.3.0", "0a:00:00:00:00:01", RENEWED],
      ["10.20.40.0", macOf(GONE), GONE],
    ]
  ) {
    await ip(host, `neighbour add ${subnet} lladdr ${mac} dev flannel.1 nud permanent`);
    await bridge(host, `fdb add ${mac} dev flannel.1 dst ${publicIP} self permanent`);
    await ip(host, `route add ${subnet}/24 via ${subnet} dev flannel.1 onlink`);
  }
}

/** Kernel objects of an agent on a new host. */
async function fresh(host: BackendHost): Promise<string[]> {
  const { network, own } = await prepareVxlan(host);
  await network.sync(own, leases());
  const state = withoutIdentity(await host.state());
  await network.remove();
  return state;
}

for (const [what, leave] of [["0.7.1", leaveAs071], ["newer flannel", leaveAs020]] as const) {
  test(`sync() takes over from ${what} and leaves nothing stale`, async ({ host, log }) => {
    const want = await fresh(host);
    await leave(host);
    const before = await deviceOf(host);
    assertNotEquals(withoutIdentity(await host.state()), want);

    const { network, own } = await prepareVxlan(host);
    assertEquals(own.attributes.backendData, { VtepMAC: before.address });
    assertEquals(await network.sync(own, leases()), 0);
    assertEquals(withoutIdentity(await host.state()), want);
    assertEquals((await deviceOf(host)).ifindex, before.ifindex);
    const known = await host.ipJson("-4", "neighbour", "show", "nud", "all", "dev", "flannel.1");
    assertEquals(known.length, 2, "neighbours that were learned on demand are left");
    assertEquals(log.filter((line) => line.startsWith("W")), []);
    assertEquals(await host.changesDuring(() => network.sync(own, leases())), []);
  });
}

test("sync() removes what is left of a network served before", async ({ host }) => {
  const want = await fresh(host);
  const former = await prepareVxlan(host, { DirectRouting: true }, { network: "10.30.0.0/16" });
  const own = { ...former.own, subnet: Prefix.parse("10.30.1.0/24")! };
  await former.network.sync(
    own,
    new LeaseSet([
      vxlanLease("10.30.2.0/24", PRESENT), // direct: a route by eth1
      vxlanLease("10.30.3.0/24", "198.51.100.7"),
    ]),
  );
  const { network, own: now } = await prepareVxlan(host, {}, {
    formerNetworks: [Prefix.parse("10.30.0.0/16")!],
  });
  await network.sync(now, leases());
  assertEquals(withoutIdentity(await host.state()), want);
});

test("sync() leaves nothing on its device but its own, whatever network it is of", async ({ host, log }) => {
  const want = await fresh(host);
  // subnet.env is gone, and with it what was served before.
  const former = await prepareVxlan(host, {}, { network: "10.30.0.0/16" });
  await former.network.sync(
    { ...former.own, subnet: Prefix.parse("10.30.1.0/24")! },
    new LeaseSet([vxlanLease("10.30.2.0/24", GONE)]),
  );
  await ip(host, "address add 192.168.77.1/24 dev flannel.1");
  await ip(host, "route add 192.168.78.0/24 dev flannel.1");
  await ip(host, `neighbour add 192.168.77.9 lladdr ${macOf(GONE)} dev flannel.1 nud stale`);
  const before = await deviceOf(host);
  const from = log.length;

  const { network, own } = await prepareVxlan(host);
  assertEquals(await network.sync(own, leases()), 0);
  assertEquals(withoutIdentity(await host.state()), want);
  assertEquals((await deviceOf(host)).ifindex, before.ifindex);
  const known = await host.ipJson("-4", "neighbour", "show", "nud", "all", "dev", "flannel.1");
  assertEquals(known.length, 2);
  assertEquals(await host.changesDuring(() => network.sync(own, leases())), []);
  const removed = log.slice(from).filter((line) => !line.startsWith("I Created device"));
  assertEquals(
    removed.slice(0, -1).map((line) => line.replace(/ (dev|via) .*:/, ":")).sort(),
    [
      "I removed route 10.30.2.0/24: the network does not use it",
      "I removed address 10.30.1.0/32: the network does not use it",
      "I removed route 192.168.78.0/24: the network does not use it",
    ].sort(),
  );
  assertEquals(removed.at(-1), "I removed 1 more such addresses and routes");
});

test("sync() after a change of SubnetLen or own subnet keeps one address", async ({ host }) => {
  const { network, own } = await prepareVxlan(host);
  await network.sync(own, leases());
  for (const subnet of ["10.20.64.0/20", "10.20.1.0/25", "10.20.1.0/24"]) {
    await network.sync({ ...own, subnet: Prefix.parse(subnet)! }, leases());
    const [device] = await host.ipJson<{ addr_info: { local: string; prefixlen: number }[] }>(
      ..."-4 address show dev flannel.1".split(" "),
    );
    assertEquals(
      device!.addr_info.map(({ local, prefixlen }) => `${local}/${prefixlen}`),
      [subnet.replace(/\/.*/, "/32")],
    );
  }
});
