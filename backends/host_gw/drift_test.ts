import { assertEquals } from "@std/assert";
import { ip, net } from "../../mod/store/testing/store_lab.ts";
import type { KernelEvent, Link, Route } from "../../mod/sys/mod.ts";
import { drift, ExternalDrift } from "../reconciled/drift.ts";
import { PeerIndex } from "../reconciled/peer_index.ts";
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

const PEERS = new PeerIndex();
PEERS.add({ route: ROUTE });

const { gateway: _, ...DIRECT } = ROUTE;
const CONNECTED: Route = { ...DIRECT, destination: net("172.28.128.0/24"), scope: 253 };

function link(flags: number, index = 2): KernelEvent {
  const link: Link = { index, name: "eth1", flags, mtu: 1500 };
  return { type: "link", link };
}

/** Returns a report on one event after another. */
function reporter(): (event: KernelEvent) => string | undefined {
  const external = new ExternalDrift({ name: "eth1", index: 2 });
  return (event) => external.report(event) ?? drift(event, { peers: PEERS });
}

/** Returns the report on one event. */
function report(event: KernelEvent): string | undefined {
  return reporter()(event);
}

Deno.test("drift() reports that a route was removed or altered", () => {
  const altered = { ...ROUTE, gateway: ip("172.28.128.9") };
  assertEquals(report({ type: "route-removed", route: ROUTE }), "route to 10.20.65.0/24 removed");
  assertEquals(report({ type: "route", route: altered }), "route to 10.20.65.0/24 altered");
});

Deno.test("drift() and ExternalDrift.report() report no change of the agent, and none of other routes", () => {
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

Deno.test("ExternalDrift.report() reports the interface's networks", () => {
  assertEquals(report({ type: "route", route: CONNECTED }), "eth1 is now on 172.28.128.0/24");
  assertEquals(
    report({ type: "route-removed", route: CONNECTED }),
    "eth1 is no longer on 172.28.128.0/24",
  );
});

Deno.test("ExternalDrift.report() reports that the interface came back without its routes", () => {
  const report = reporter();
  assertEquals(report(link(0)), undefined);
  assertEquals(report(link(IFF_UP, 3)), undefined);
  assertEquals(report(link(IFF_UP)), "eth1 came back, its routes did not");
  assertEquals(report(link(IFF_UP)), undefined);
});

Deno.test("drift() reports that events were lost", () => {
  assertEquals(report({ type: "overrun" }), "kernel events were lost");
});
