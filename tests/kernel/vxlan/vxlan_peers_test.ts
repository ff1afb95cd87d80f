import { assertEquals } from "@std/assert";
import { vtepMac } from "../../../backends/vxlan/vtep_mac.ts";
import { type BackendHost, makeLease } from "../../../backends/testing/backend_lab.ts";
import { formatIPv4 } from "../../../mod/ip/mod.ts";
import type { JsonValue, Lease } from "../../../mod/lease/mod.ts";
import { LeaseSet } from "../../../mod/subnet/mod.ts";
import type { KernelEvent } from "../../../mod/sys/mod.ts";
import { ip, macOf, prepareVxlan, test, vxlanLease } from "./vxlan_lab.ts";

/** Output of iproute2 for the peers. */
async function peersOf(host: BackendHost, device = "flannel.1") {
  // Not filtered by iproute2: it then leaves out what it filtered by.
  const routes = await host.ipJson("-4", "-d", "route", "show");
  return {
    routes: routes.filter(({ protocol }) => protocol === "102"),
    neighbours: await host.ipJson("-4", "neighbour", "show", "nud", "all", "dev", device),
    fdb: (await host.fdb()).filter(({ ifname }) => ifname === device),
  };
}

/** The objects of a peer by the tunnel, as iproute2 shows them. */
function tunnelled(subnet: string, publicIP: string, mac = macOf(publicIP), metric?: number) {
  const base = subnet.split("/")[0]!;
  return {
    route: {
      ...{ type: "unicast", dst: subnet, gateway: base, dev: "flannel.1", protocol: "102" },
      ...{ scope: "global", ...(metric === undefined ? {} : { metric }), flags: ["onlink"] },
    },
    neighbour: { dst: base, lladdr: mac, state: ["PERMANENT"] },
    fdb: { mac, ifname: "flannel.1", dst: publicIP, flags: ["self"], state: "permanent" },
  };
}

/**
 * `fdb-removed 0a:00:...`, without the order between tables. A removed neighbour is reported twice by
 * the kernel, as failed and as gone.
 */
function inWords(events: readonly KernelEvent[]): string[] {
  const words = events.map((event) => {
    if ("route" in event) return `${event.type} ${event.route.destination}`;
    if ("entry" in event) return `${event.type} ${event.entry.mac}`;
    if ("neighbour" in event) return `${event.type} ${formatIPv4(event.neighbour.address)}`;
    return event.type;
  });
  return [...new Set(words)].sort();
}

test("sync() gives each peer a neighbour, an FDB entry and an onlink route", async ({ lab }) => {
  const { network, own } = await prepareVxlan(lab.host);
  const leases = new LeaseSet([
    vxlanLease("10.20.2.0/24", "172.28.128.101"),
    // As 0.7.1 and as newer flannel write it; and as somebody else might.
    makeLease("10.20.3.0/24", "172.28.128.102", {
      backendType: "vxlan",
      backendData: { VNI: 1, VtepMAC: "A2:3F:60:CF:AE:07" },
    }),
    makeLease("10.20.4.0/28", "172.28.128.103", {
      backendType: "vxlan",
      backendData: { vtepmac: "a2-3f-60-cf-ae-08" },
    }),
  ]);
  assertEquals(await network.sync(own, leases), 0);
  const want = [
    tunnelled("10.20.2.0/24", "172.28.128.101"),
    tunnelled("10.20.3.0/24", "172.28.128.102", "a2:3f:60:cf:ae:07"),
    tunnelled("10.20.4.0/28", "172.28.128.103", "a2:3f:60:cf:ae:08"),
  ];
  const { routes, neighbours, fdb } = await peersOf(lab.host);
  assertEquals(routes, want.map(({ route }) => route));
  assertEquals(
    neighbours.toSorted((a, b) => String(a.dst).localeCompare(String(b.dst))),
    want.map(({ neighbour }) => neighbour),
  );
  assertEquals(
    fdb.toSorted((a, b) => a.dst.localeCompare(b.dst)) as unknown[],
    want.map(({ fdb }) => fdb),
  );
  assertEquals(network.status().peers, 3);
});

test("apply() touches the objects of the change, among a thousand peers", async ({ lab }) => {
  const { host } = lab;
  const { network, own } = await prepareVxlan(host, {}, { network: "10.0.0.0/8" });
  const peer = (i: number, mac?: string) =>
    vxlanLease(`10.${100 + (i >> 8)}.${i & 255}.0/24`, `172.28.${i >> 8}.${i & 255}`, mac);
  const leases = new LeaseSet(Array.from({ length: 1000 }, (_, i) => peer(i + 1)));
  assertEquals(await network.sync(own, leases), 0);
  assertEquals((await host.fdb()).length, 1000);
  // One metric more for each 256 subnets of the network, see metricOf().
  const [route] = await host.ipJson("-4", "-d", "route", "show", "10.100.7.0/24");
  assertEquals(route, tunnelled("10.100.7.0/24", "172.28.0.7", undefined, 100).route);

  const during = async (event: { put: Lease } | { remove: Lease["subnet"] }) =>
    inWords(await host.changesDuring(() => network.apply(leases.apply([event]))));
  const seventh = peer(7);
  assertEquals(await during({ put: peer(7, "0a:00:00:00:00:07") }), [
    "fdb 0a:00:00:00:00:07",
    "fdb-removed 0a:00:ac:1c:00:07",
    "neighbour 10.100.7.0",
  ]);
  assertEquals(await during({ remove: seventh.subnet }), [
    "fdb-removed 0a:00:00:00:00:07",
    "neighbour-removed 10.100.7.0",
    "route-removed 10.100.7.0/24",
  ]);
  assertEquals(await during({ put: seventh }), [
    "fdb 0a:00:ac:1c:00:07",
    "neighbour 10.100.7.0",
    "route 10.100.7.0/24",
  ]);
  assertEquals(await during({ put: { ...seventh, revision: "2" } }), []);
  assertEquals(await host.changesDuring(() => network.sync(own, leases)), []);
});

test("apply() keeps the FDB entry of a VTEP that moves to another subnet", async ({ lab }) => {
  const { host } = lab;
  const { network, own } = await prepareVxlan(host);
  const [from, to] = ["10.20.2.0/24", "10.20.3.0/24"]
    .map((subnet) => vxlanLease(subnet, "172.28.128.101")) as [Lease, Lease];
  const leases = new LeaseSet([from]);
  await network.sync(own, leases);
  const { fdb } = await peersOf(host);
  const fdbEvents = (events: readonly KernelEvent[]) =>
    inWords(events).filter((line) => line.startsWith("fdb"));

  const atOnce = await host.changesDuring(() =>
    network.apply(leases.apply([{ remove: from.subnet }, { put: to }]))
  );
  assertEquals(fdbEvents(atOnce), []);
  const byAndBy = await host.changesDuring(async () => {
    await network.apply(leases.apply([{ put: from }]));
    await network.apply(leases.apply([{ remove: to.subnet }]));
  });
  assertEquals(fdbEvents(byAndBy), []);
  assertEquals((await peersOf(host)).fdb, fdb);
  await network.apply(leases.apply([{ remove: from.subnet }]));
  assertEquals(await peersOf(host), { routes: [], neighbours: [], fdb: [] });
});

test("apply() leaves a VTEP MAC to the first host that has it", async ({ lab, log }) => {
  const { host } = lab;
  const { network, own } = await prepareVxlan(host);
  const mac = "0a:00:00:00:00:01";
  const [first, second, local] = [
    vxlanLease("10.20.3.0/24", "172.28.128.101", mac),
    vxlanLease("10.20.2.0/24", "172.28.128.102", mac),
    vxlanLease("10.20.4.0/24", "172.28.128.103", host.netlink.link("flannel.1")!.mac!),
  ] as const;
  const leases = new LeaseSet([first]);
  await network.sync(own, leases);
  const destinations = async () => (await host.fdb()).map(({ dst }) => dst);
  await network.apply(leases.apply([{ put: second }, { put: local }]));
  assertEquals(await destinations(), ["172.28.128.101"]);
  assertEquals(log.filter((line) => line.startsWith("W")), [
    `W Ignoring subnet 10.20.2.0/24: it has the VTEP MAC ${mac} of 172.28.128.101, which had it first`,
    `W Ignoring subnet 10.20.4.0/24: it has our own VTEP MAC ${
      vtepMac(local.attributes.backendData)
    }`,
  ]);

  // Neither another look nor another start makes the second the first, whatever their order.
  const inOrder = new LeaseSet([second, local, first]);
  await network.sync(own, inOrder);
  assertEquals(await destinations(), ["172.28.128.101"]);
  const next = await prepareVxlan(host);
  await next.network.sync(next.own, inOrder);
  assertEquals(await destinations(), ["172.28.128.101"]);

  // It may change its address, or its lease; only when it is gone comes the second.
  const moved = vxlanLease("10.20.3.0/24", "172.28.128.109", mac);
  await next.network.apply(inOrder.apply([{ put: moved }]));
  assertEquals(await destinations(), ["172.28.128.109"]);
  await next.network.apply(inOrder.apply([{ remove: first.subnet }]));
  assertEquals(await destinations(), ["172.28.128.102"]);
  assertEquals(next.network.status().refused.size, 1);
});

test("sync() refuses a lease without a VTEP, and accepts it once it has one", async ({ lab, log }) => {
  const { host } = lab;
  const { network, own } = await prepareVxlan(host);
  const lease = (octet: number, backendType?: string, backendData?: JsonValue) =>
    makeLease(`10.20.${octet}.0/24`, `172.28.128.${octet}`, {
      ...(backendType === undefined ? {} : { backendType }),
      ...(backendData === undefined ? {} : { backendData }),
    });
  const refused: readonly (readonly [Lease, string])[] = [
    [lease(101, "vxlan"), "has no usable VtepMAC in its BackendData (nothing)"],
    [lease(102, "vxlan", {}), "has no usable VtepMAC in its BackendData ({})"],
    [
      lease(103, "vxlan", { VtepMAC: "zz:11:22:33:44:55" }),
      'has no usable VtepMAC in its BackendData ({"VtepMAC":"zz:11:22:33:44:55"})',
    ],
    [
      lease(104, "vxlan", { VtepMAC: "01:00:5e:00:00:01" }),
      'has no usable VtepMAC in its BackendData ({"VtepMAC":"01:00:5e:00:00:01"})',
    ],
    [
      lease(105, "vxlan", { VtepMAC: "00:00:00:00:00:00" }),
      'has no usable VtepMAC in its BackendData ({"VtepMAC":"00:00:00:00:00:00"})',
    ],
    [
      lease(106, "vxlan", { VtepMAC: 17 }),
      'has no usable VtepMAC in its BackendData ({"VtepMAC":17})',
    ],
    [
      lease(107, "vxlan", "c6:8a:3d:5f:56:2e"),
      'has no usable VtepMAC in its BackendData ("c6:8a:3d:5f:56:2e")',
    ],
    [lease(108), "is non-vxlan: type=udp or none"],
    [lease(109, "host-gw"), "is non-vxlan: type=host-gw"],
    [lease(110, "VXLAN", { VtepMAC: "0a:00:00:00:00:01" }), "is non-vxlan: type=VXLAN"],
  ];
  const leases = new LeaseSet(refused.map(([lease]) => lease));
  await network.sync(own, leases);
  await network.sync(own, leases);
  assertEquals(await peersOf(host), { routes: [], neighbours: [], fdb: [] });
  assertEquals(
    log.filter((line) => line.startsWith("W")),
    refused.map(([{ subnet }, reason]) => `W Ignoring subnet ${subnet}: it ${reason}`),
  );

  const corrected = refused.map(([{ subnet, attributes }]) =>
    vxlanLease(`${subnet}`, formatIPv4(attributes.publicIP))
  );
  await network.apply(leases.apply(corrected.map((put) => ({ put }))));
  const { peers, refused: left } = network.status();
  assertEquals({ peers, left }, { peers: refused.length, left: new Map() });
  assertEquals((await peersOf(host)).routes.length, refused.length);
});

test("DirectRouting sends on-link peers' packets without a tunnel", async ({ lab }) => {
  const { host } = lab;
  await ip(host, "route add 172.29.0.0/16 via 172.28.128.1");
  // On-link, but through another interface than the external one.
  await ip(host, "link add eth2 type veth peer name eth3");
  await ip(host, "address add 192.0.2.1/24 dev eth2");
  await ip(host, "link set eth2 up");
  const { network, own } = await prepareVxlan(host, { DirectRouting: true });
  const leases = new LeaseSet([
    vxlanLease("10.20.2.0/24", "172.28.128.101"),
    vxlanLease("10.20.3.0/24", "172.29.0.7"),
    vxlanLease("10.20.4.0/24", "192.0.2.7"),
    vxlanLease("10.20.5.0/24", "198.51.100.7"), // no route leads there
  ]);
  await network.sync(own, leases);
  const behind = tunnelled("10.20.3.0/24", "172.29.0.7");
  const elsewhere = tunnelled("10.20.4.0/24", "192.0.2.7");
  const nowhere = tunnelled("10.20.5.0/24", "198.51.100.7");
  const direct = {
    ...{ type: "unicast", dst: "10.20.2.0/24", gateway: "172.28.128.101", dev: "eth1" },
    ...{ protocol: "102", scope: "global", flags: [] },
  };
  const { routes, neighbours, fdb } = await peersOf(host);
  assertEquals(routes, [direct, behind.route, elsewhere.route, nowhere.route]);
  assertEquals(neighbours.length, 3);
  assertEquals(
    fdb.map(({ dst }) => dst).sort(),
    ["172.29.0.7", "192.0.2.7", "198.51.100.7"],
  );
  assertEquals(await host.changesDuring(() => network.sync(own, leases)), []);

  // A peer comes on-link by another address, and goes again.
  const moved = vxlanLease("10.20.3.0/24", "172.28.128.102");
  await network.apply(leases.apply([{ put: moved }]));
  const later = await peersOf(host);
  assertEquals(later.routes[1], { ...direct, dst: "10.20.3.0/24", gateway: "172.28.128.102" });
  assertEquals(later.neighbours.length, 2);
  assertEquals(later.fdb.length, 2);
  for (const { subnet } of [...leases.values()]) {
    await network.apply(leases.apply([{ remove: subnet }]));
  }
  assertEquals(await peersOf(host), { routes: [], neighbours: [], fdb: [] });

  // Turned off, everything goes through the tunnel.
  await network.apply(leases.apply([{ put: vxlanLease("10.20.2.0/24", "172.28.128.101") }]));
  const off = await prepareVxlan(host);
  await off.network.sync(off.own, leases);
  assertEquals((await peersOf(host)).routes, [tunnelled("10.20.2.0/24", "172.28.128.101").route]);
});

test("DirectRouting carries packets between hosts on one link", async ({ lab }) => {
  const [here, there] = lab.hosts;
  const a = await prepareVxlan(here, { DirectRouting: true });
  const b = await prepareVxlan(there, { DirectRouting: true });
  const other = { ...b.own, subnet: vxlanLease("10.20.2.0/24", there.address).subnet };
  await a.network.sync(a.own, new LeaseSet([other]));
  await b.network.sync(other, new LeaseSet([a.own]));
  const received = async () => {
    const [link] = await there.ipJson<{ stats64: { rx: { packets: number } } }>(
      ..."-s link show dev flannel.1".split(" "),
    );
    return link!.stats64.rx.packets;
  };
  const before = await received();
  assertEquals(await here.ping("10.20.2.0", { source: "10.20.1.0" }), 1);
  assertEquals(await received(), before, "the packet came through the tunnel");
});

test("apply() logs who comes, changes and goes", async ({ host, log }) => {
  const { network, own } = await prepareVxlan(host);
  const leases = new LeaseSet();
  await network.sync(own, leases);
  const from = log.length;
  const { subnet } = vxlanLease("10.20.2.0/24", "172.28.128.101");
  for (const publicIP of ["172.28.128.101", "172.28.128.102", "127.0.0.1"]) {
    await network.apply(leases.apply([{ put: vxlanLease(`${subnet}`, publicIP) }]));
  }
  await network.apply(leases.apply([{ remove: subnet }]));
  await network.apply(leases.apply([{ put: vxlanLease(`${subnet}`, "172.28.128.101") }]));
  await network.apply(leases.apply([{ remove: subnet }]));
  assertEquals(log.slice(from), [
    "I Subnet added: 10.20.2.0/24 via 172.28.128.101",
    "I Subnet changed: 10.20.2.0/24 via 172.28.128.102",
    "W Ignoring subnet 10.20.2.0/24: it has public IP 127.0.0.1, which no host can have",
    "I Subnet added: 10.20.2.0/24 via 172.28.128.101",
    "I Subnet removed: 10.20.2.0/24",
  ]);
});
