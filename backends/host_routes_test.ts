import { assertEquals } from "@std/assert";
import { ip, net } from "../mod/store/testing/store_lab.ts";
import type { InterfaceAddress, KernelEvent, Link, Operation, Route } from "../mod/sys/mod.ts";
import { HostRoutes, type HostTables } from "./host_routes.ts";
import { RTPROT_FLANNEL } from "./reconcile.ts";
import { RT_TABLE_MAIN, RTPROT_BOOT, RTPROT_KERNEL } from "../mod/sys/linux_constants.ts";

const [ETH0, DOCKER, FLANNEL, ETH2] = [2, 3, 4, 5] as const;

const LINKS: readonly Link[] = [
  { index: ETH0, name: "eth0", flags: 1, mtu: 1500 },
  { index: DOCKER, name: "docker0", flags: 1, mtu: 1450, kind: "bridge" },
  { index: FLANNEL, name: "flannel.1", flags: 1, mtu: 1450, kind: "vxlan" },
  { index: ETH2, name: "eth2", flags: 1, mtu: 1500 },
];

function route(destination: string, more: Partial<Route> = {}): Route {
  return {
    ...{ destination: net(destination), oif: ETH0, onlink: false, scope: 0 },
    ...{ protocol: RTPROT_BOOT, table: RT_TABLE_MAIN, metric: 0, ...more },
  };
}

function address(text: string, index: number): InterfaceAddress {
  const [address, length] = text.split("/");
  return { index, address: ip(address!), prefixLength: Number(length), scope: 0, flags: 0x80 };
}

function host(tables: Partial<HostTables> = {}): HostRoutes {
  const made = new HostRoutes(net("10.20.0.0/16"));
  made.load({ links: LINKS, addresses: [], routes: [], ...tables });
  return made;
}

const met = (host: HostRoutes, subnet: string) => host.obstacle(net(subnet))?.prefix.toString();

Deno.test("HostRoutes.obstacle() finds routes that a lease would take the place of, and no broader ones", () => {
  const one = host({
    routes: [
      route("0.0.0.0/0", { gateway: ip("192.168.1.1") }),
      route("10.0.0.0/8", { gateway: ip("192.168.1.254") }),
      route("10.20.0.0/17", { gateway: ip("192.168.1.254") }),
      route("10.20.64.0/24", { gateway: ip("192.168.1.254") }),
      route("10.20.65.7/32", { gateway: ip("192.168.1.254"), metric: 9 }),
      route("10.20.66.0/24", { oif: 0 }),
      route("10.20.67.0/24", { protocol: RTPROT_FLANNEL }),
      route("10.20.68.0/24", { oif: FLANNEL }),
      route("10.20.69.0/24", { table: 77 }),
    ].filter(({ table }) => table === RT_TABLE_MAIN),
  });
  assertEquals(met(one, "10.20.64.0/24"), "10.20.64.0/24");
  assertEquals(met(one, "10.20.64.0/25"), undefined);
  assertEquals(met(one, "10.20.65.0/24"), "10.20.65.7/32");
  assertEquals(met(one, "10.20.66.0/24"), "10.20.66.0/24");
  for (const subnet of ["10.20.1.0/24", "10.20.67.0/24", "10.20.68.0/24", "10.20.200.0/24"]) {
    assertEquals(met(one, subnet), undefined, subnet);
  }
  const viaHere = one.obstacle(
    net("10.20.64.0/24"),
    ({ gateway }) => gateway === ip("192.168.1.254"),
  );
  assertEquals(viaHere, undefined);
});

Deno.test("HostRoutes.obstacle() finds networks that the host is on, within a lease and around it", () => {
  const one = host({
    addresses: [
      address("10.20.64.9/22", ETH2),
      address("10.20.80.1/26", DOCKER),
      address("10.20.90.0/32", FLANNEL),
      address("10.20.0.1/16", FLANNEL),
      address("10.20.91.7/32", ETH2),
    ],
  });
  assertEquals(met(one, "10.20.65.0/24"), "10.20.64.0/22");
  assertEquals(met(one, "10.20.80.0/24"), "10.20.80.0/26");
  for (const subnet of ["10.20.90.0/24", "10.20.91.0/24", "10.20.68.0/24"]) {
    assertEquals(met(one, subnet), undefined, subnet);
  }
  assertEquals(one.hasAddress(ip("10.20.91.7")), true);
  assertEquals(String(one.edgeOf(ip("10.20.67.255"))), "10.20.64.0/22");
  assertEquals(one.edgeOf(ip("10.20.67.254")), undefined);
});

Deno.test("HostRoutes.unusable() leaves a subnet to bridges and containers, and to nothing else", () => {
  const one = host({
    addresses: [
      address("10.20.5.1/24", DOCKER),
      address("10.20.64.9/24", ETH2),
      address("172.28.128.1/24", ETH0),
    ],
    routes: [
      route("10.20.5.0/24", { oif: DOCKER, protocol: RTPROT_KERNEL }),
      route("10.20.5.64/26", { oif: DOCKER, gateway: ip("10.20.5.9") }),
      route("10.20.5.7/32", { oif: 9 }),
      route("10.20.6.0/24", { oif: 0 }),
      route("10.20.7.0/25", { gateway: ip("172.28.128.254") }),
      route("10.20.0.0/17", { gateway: ip("172.28.128.254") }),
    ],
  });
  const unusable = (subnetLen: number, former: string[] = []) =>
    one.unusable({ subnetLen, former: former.map(net), external: ETH0 })
      .map(({ prefix, reason }) => `${prefix}: ${reason}`).sort();
  assertEquals(unusable(24), [
    "10.20.64.0/24: meets 10.20.64.0/24, which an interface of this host is on",
    "10.20.7.0/25: meets the route to 10.20.7.0/25 via 172.28.128.254, which flanneld did not make",
  ]);
  // Smaller subnets now: docker0 has not been restarted yet.
  assertEquals(unusable(26, ["10.20.5.0/24"]), [
    "10.20.64.0/24: meets 10.20.64.0/24, which an interface of this host is on",
  ]);
  assertEquals(unusable(26).length, 2);
});

Deno.test("HostRoutes.observe() follows the kernel, and reports what concerns a lease", () => {
  const one = host();
  const own = net("10.20.1.0/24");
  const peers = { has: (subnet: { key: number }) => subnet.key === net("10.20.2.0/24").key };
  let refused = 0;
  const observe = (event: KernelEvent) => one.observe(event, { ...peers, refused }, 24, own);
  const unmanaged = route("10.20.2.0/24", { gateway: ip("192.168.1.254") });
  const added = "route of this host to 10.20.2.0/24 added";
  const removed = "route of this host to 10.20.2.0/24 removed";

  assertEquals(observe({ type: "route", route: { ...unmanaged, table: 77 } }), undefined);
  assertEquals(observe({ type: "route", route: { ...unmanaged, protocol: 102 } }), undefined);
  assertEquals(met(one, "10.20.2.0/24"), undefined);
  assertEquals(observe({ type: "route", route: unmanaged }), added);
  assertEquals(met(one, "10.20.2.0/24"), "10.20.2.0/24");
  refused = 1;
  // Our own goes as well; the other one stays.
  assertEquals(
    observe({ type: "route-removed", route: { ...unmanaged, protocol: 102 } }),
    undefined,
  );
  assertEquals(met(one, "10.20.2.0/24"), "10.20.2.0/24");
  assertEquals(observe({ type: "route-removed", route: unmanaged }), removed);
  assertEquals(met(one, "10.20.2.0/24"), undefined);

  // In nobody's lease, within our own, and outside of the network.
  for (const text of ["10.20.9.0/24", "10.20.1.7/32", "10.0.0.0/8", "192.168.7.0/24"]) {
    assertEquals(observe({ type: "route", route: route(text) }), undefined, text);
  }
  assertEquals(
    observe({ type: "route", route: route("10.20.2.9/32") }),
    "route of this host to 10.20.2.9/32 added",
  );
  // Without an event for each of its routes.
  assertEquals(
    observe({ type: "link", link: { ...LINKS[0]!, flags: 0 } }),
    "routes of this host by eth0 removed",
  );
  assertEquals(met(one, "10.20.2.0/24"), undefined);
  const eth2 = address("10.20.2.9/24", ETH2);
  assertEquals(observe({ type: "address", address: eth2 }), "this host is now on 10.20.2.0/24");
  assertEquals(met(one, "10.20.2.0/24"), "10.20.2.0/24");
  assertEquals(
    observe({ type: "address-removed", address: eth2 }),
    "this host is no longer on 10.20.2.0/24",
  );
  assertEquals(one.hasAddress(eth2.address), false);
});

Deno.test("HostRoutes.addable() leaves out what somebody else has already", () => {
  const one = host({ routes: [route("10.20.2.0/24"), route("10.20.3.0/24", { metric: 5 })] });
  const operations = ["10.20.2.0/24", "10.20.3.0/24"].map((text): Operation => ({
    ...{ op: "add", kind: "route", object: route(text, { protocol: RTPROT_FLANNEL }) },
  }));
  assertEquals(one.addable(operations), [operations[1]!]);
  assertEquals(one.addable([operations[1]!]), [operations[1]!]);
});
