import { assertEquals } from "@std/assert";
import { ip, net } from "../../mod/store/testing/store_lab.ts";
import type { KernelEvent, Link, Route } from "../../mod/sys/mod.ts";
import { GatewayDrift, type GatewayState } from "./drift.ts";
import { IFF_UP } from "../../mod/sys/linux_constants.ts";

const ROUTE: Route = {
  destination: net("10.20.65.0/24"),
  gateway: ip("172.28.128.102"),
  oif: 2,
  onlink: false,
  protocol: 102,
  scope: 0,
  table: 254,
  metric: 0,
};

const STATE: GatewayState = {
  external: { name: "eth1", index: 2 },
  route: (subnet) => subnet.equals(ROUTE.destination) ? ROUTE : undefined,
};

const { gateway: _, ...DIRECT } = ROUTE;
const CONNECTED: Route = { ...DIRECT, destination: net("172.28.128.0/24"), scope: 253 };

function link(flags: number, index = 2): KernelEvent {
  const link: Link = { index, name: "eth1", flags, mtu: 1500 };
  return { type: "link", link };
}

/** What one event is reported as. */
function report(event: KernelEvent): string | undefined {
  return new GatewayDrift().report(event, STATE);
}

Deno.test("GatewayDrift.report() sees our route go, and be altered", () => {
  const altered = { ...ROUTE, gateway: ip("172.28.128.9") };
  assertEquals(report({ type: "route-removed", route: ROUTE }), "route to 10.20.65.0/24 removed");
  assertEquals(report({ type: "route", route: altered }), "route to 10.20.65.0/24 altered");
});

Deno.test("GatewayDrift.report() takes what we do ourselves, and what is not ours, for no damage", () => {
  const elsewhere = { ...ROUTE, destination: net("10.20.66.0/24") };
  const harmless: readonly KernelEvent[] = [
    { type: "route", route: ROUTE },
    { type: "route-removed", route: { ...ROUTE, gateway: ip("172.28.128.9") } },
    { type: "route-removed", route: { ...ROUTE, table: 77 } },
    { type: "route-removed", route: { ...ROUTE, metric: 7 } },
    { type: "route", route: { ...ROUTE, metric: 7, gateway: ip("172.28.128.9") } },
    { type: "route-removed", route: elsewhere },
    { type: "route", route: { ...CONNECTED, oif: 3 } },
    { type: "address-removed", address: { ...ADDRESS } },
    link(0, 3),
    link(IFF_UP),
  ];
  for (const event of harmless) assertEquals(report(event), undefined, JSON.stringify(event));
});

const ADDRESS = {
  index: 2,
  address: ip("172.28.128.101"),
  prefixLength: 24,
  scope: 0,
  flags: 0x80,
};

Deno.test("GatewayDrift.report() sees the interface's networks come and go", () => {
  assertEquals(report({ type: "route", route: CONNECTED }), "eth1 is now on 172.28.128.0/24");
  assertEquals(
    report({ type: "route-removed", route: CONNECTED }),
    "eth1 is no longer on 172.28.128.0/24",
  );
});

Deno.test("GatewayDrift.report() sees the interface come back, since its routes did not", () => {
  const drift = new GatewayDrift();
  assertEquals(drift.report(link(0), STATE), undefined);
  assertEquals(drift.report(link(IFF_UP, 3), STATE), undefined);
  assertEquals(drift.report(link(IFF_UP), STATE), "eth1 came back, its routes did not");
  assertEquals(drift.report(link(IFF_UP), STATE), undefined);
});

Deno.test("GatewayDrift.report() says when events were lost", () => {
  assertEquals(report({ type: "overrun" }), "kernel events were lost");
});
