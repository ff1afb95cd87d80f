import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { Prefix } from "../../mod/ip/mod.ts";
import type { Lease } from "../../mod/lease/mod.ts";
import { ip, net } from "../../mod/store/testing/store_lab.ts";
import type { Route } from "../../mod/sys/mod.ts";
import { isOnLink, linkPrefixes } from "../reconciled/direct_peers.ts";
import { type PeerContext, peerObjects, peerRefusal } from "../reconciled/driver.ts";
import {
  makeLease,
  OWN_IP,
  OWN_SUBNET,
  peerContext,
  recordedChanges,
  recordingContext,
} from "../testing/unit_kit.ts";
import { LeaseSet } from "../../mod/subnet/mod.ts";
import { hostGwBackend } from "./host_gw.ts";

const EXTERNAL = { name: "eth1", index: 2 };

function lease(
  subnet: string,
  publicIP: string,
  changes: Partial<Lease["attributes"]> = {},
): Lease {
  return makeLease(subnet, publicIP, { backendType: "host-gw", ...changes });
}

const CONTEXT = peerContext();
const DRIVER = hostGwBackend.driver(await recordingContext({ Type: "host-gw" }));
const peerRoute = (lease: Lease, context: PeerContext) => peerObjects(DRIVER, lease, context).route;
const hostGwRefusal = (lease: Lease, context: PeerContext) =>
  peerRefusal("host-gw", DRIVER, lease, context);

function route(destination: string, changes: Partial<Route> = {}): Route {
  return {
    destination: net(destination),
    oif: EXTERNAL.index,
    onlink: false,
    protocol: 2,
    scope: 253,
    table: 254,
    metric: 0,
    ...changes,
  };
}

Deno.test("peerRoute() leads to the peer's subnet by the peer itself", () => {
  assertEquals(peerRoute(lease("10.20.65.0/24", "172.28.128.102"), CONTEXT), {
    destination: net("10.20.65.0/24"),
    gateway: ip("172.28.128.102"),
    oif: 2,
    onlink: false,
    protocol: 102,
    scope: 0,
    table: 254,
    metric: 0,
  });
});

Deno.test("host-gw routes to peers on its own link, and refuses the others", async () => {
  const context = await recordingContext({ Type: "host-gw" });
  const network = await hostGwBackend.prepare(context);
  const own = lease(OWN_SUBNET, OWN_IP);
  const near = lease("10.20.65.0/24", "172.28.128.102");
  const far = lease("10.20.66.0/24", "192.0.2.7");
  assertEquals(await network.sync(own, new LeaseSet([own, near, far])), 0);
  assertEquals(recordedChanges(context), [
    "+ route 10.20.65.0/24 via 172.28.128.102 dev eth1 proto 102",
  ]);
  assertEquals([...network.status().refused.keys()], ["10.20.66.0-24"]);
});

Deno.test("peerRoute() spreads a large network's routes over metrics", () => {
  const config = { network: net("10.0.0.0/8"), subnetLen: 24 };
  const { metric } = peerRoute(lease("10.20.65.0/24", "172.28.128.102"), { ...CONTEXT, config });
  assertEquals(metric, 20);
});

Deno.test("linkPrefixes() are the interface's routes without a gateway", () => {
  const routes = [
    route("172.28.128.0/24"),
    route("192.0.2.7/32"), // point to point
    route("0.0.0.0/0", { gateway: ip("172.28.128.1"), scope: 0 }),
    route("198.51.100.0/24", { scope: 0, gateway: ip("172.28.128.9") }),
    route("10.0.2.0/24", { oif: 3 }),
    // A gateway must not be reached by a route of universe scope, though it has no gateway itself.
    route("203.0.113.0/24", { scope: 0 }),
  ];
  assertEquals(linkPrefixes(routes, 2).map(String), ["172.28.128.0/24", "192.0.2.7/32"]);
});

Deno.test("isOnLink() is true in any of the link's prefixes, and only there", () => {
  const prefixes = fc.array(
    fc.tuple(fc.nat(0xffffffff), fc.integer({ min: 0, max: 32 }))
      .map(([address, length]) => new Prefix(address, length)),
    { maxLength: 4 },
  );
  fc.assert(fc.property(fc.nat(0xffffffff), prefixes, (address, link) => {
    const expected = link.some(({ address: base, size }) =>
      address >= base && address < base + size
    );
    assertEquals(isOnLink(address, link), expected);
  }));
});

Deno.test("hostGwRefusal() lets a host-gw peer on the link pass", () => {
  assertEquals(hostGwRefusal(lease("10.20.65.0/24", "172.28.128.102"), CONTEXT), undefined);
});

Deno.test("hostGwRefusal() names what is wrong with a lease", () => {
  const { backendType: _, ...bare } = lease("10.20.65.0/24", "172.28.128.102").attributes;
  const cases: readonly (readonly [Lease, string])[] = [
    [
      lease("10.20.65.0/24", "172.28.128.102", { backendType: "vxlan" }),
      "is non-host-gw: type=vxlan",
    ],
    [
      { ...lease("10.20.65.0/24", "1.2.3.4"), attributes: bare },
      "is non-host-gw: type=udp or none",
    ],
    [lease("10.21.65.0/24", "172.28.128.102"), "is outside Network 10.20.0.0/16"],
    [lease("10.20.93.0/25", "172.28.128.102"), "overlaps our own subnet 10.20.93.0/24"],
    [
      lease("10.20.65.0/24", "172.29.0.7"),
      "has public IP 172.29.0.7, which is not on the link of eth1 (172.28.128.0/24): " +
      "host-gw needs all hosts on one link, vxlan does not",
    ],
  ];
  for (const [lease, reason] of cases) assertEquals(hostGwRefusal(lease, CONTEXT), reason);
});

Deno.test("hostGwRefusal() quotes no more of a foreign type than a line bears", () => {
  const type = "x".repeat(5000);
  const reason = hostGwRefusal(
    lease("10.20.65.0/24", "172.28.128.102", { backendType: type }),
    CONTEXT,
  );
  assertEquals(reason, `is non-host-gw: type=${"x".repeat(77)}...`);
});
