import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { net } from "../mod/store/testing/store_lab.ts";
import type { Operation, Route } from "../mod/sys/netlink/wire/types.ts";
import { diff, type KernelObjects, RTPROT_FLANNEL, sameNeighbour, sameRoute } from "./reconcile.ts";
import {
  anyActual,
  anyDesired,
  anyNeighbour,
  anyRoute,
  DEVICE,
  EXTERNAL,
  KernelModel,
  routeKey,
  sorted,
} from "./testing/reconcile_lab.ts";
import { NUD_PERMANENT, RT_SCOPE_UNIVERSE, RT_TABLE_MAIN } from "../mod/sys/linux_constants.ts";

const NOTHING: KernelObjects = { addresses: [], neighbours: [], fdb: [], routes: [] };

/** A peer's objects as vxlan wants them. */
function peer(subnet: string, mac: string, destination: number): KernelObjects {
  const { address } = net(subnet);
  return {
    addresses: [],
    neighbours: [{ index: DEVICE, address, mac, state: NUD_PERMANENT }],
    fdb: [{ index: DEVICE, mac, destination, state: NUD_PERMANENT }],
    routes: [route(subnet)],
  };
}

function route(subnet: string): Route {
  return {
    destination: net(subnet),
    gateway: net(subnet).address,
    oif: DEVICE,
    onlink: true,
    protocol: RTPROT_FLANNEL,
    scope: RT_SCOPE_UNIVERSE,
    table: RT_TABLE_MAIN,
    metric: 0,
  };
}

const MAC_A = "0e:00:00:00:00:01";
const MAC_B = "0e:00:00:00:00:02";

function steps(operations: readonly Operation[]): string[] {
  return operations.map(({ op, kind }) => `${op} ${kind}`);
}

Deno.test("diff() puts what a route needs before the route", () => {
  assertEquals(steps(diff(peer("10.20.1.0/24", MAC_A, 1), NOTHING)), [
    "replace neighbour",
    "replace fdb",
    "add route",
  ]);
});

Deno.test("diff() takes the route away first", () => {
  assertEquals(steps(diff(NOTHING, peer("10.20.1.0/24", MAC_A, 1))), [
    "delete route",
    "delete fdb",
    "delete neighbour",
  ]);
});

Deno.test("diff() takes nothing away before everything new is there", () => {
  const operations = diff(peer("10.20.1.0/24", MAC_A, 1), peer("10.20.2.0/24", MAC_B, 2));
  assertEquals(steps(operations), [
    "replace neighbour",
    "replace fdb",
    "add route",
    "delete route",
    "delete fdb",
    "delete neighbour",
  ]);
});

Deno.test("diff() of a peer with a new MAC replaces the neighbour and leaves the route alone", () => {
  const operations = diff(peer("10.20.1.0/24", MAC_B, 1), peer("10.20.1.0/24", MAC_A, 1));
  assertEquals(steps(operations), ["replace neighbour", "replace fdb", "delete fdb"]);
});

Deno.test("diff() of a peer with a new address touches its FDB entry alone", () => {
  const operations = diff(peer("10.20.1.0/24", MAC_A, 2), peer("10.20.1.0/24", MAC_A, 1));
  assertEquals(steps(operations), ["replace fdb", "delete fdb"]);
});

Deno.test("diff() of a peer that is now on our own link replaces the route in place", () => {
  const direct: Route = {
    ...route("10.20.1.0/24"),
    gateway: 0xc0000201,
    oif: EXTERNAL,
    onlink: false,
  };
  const before = peer("10.20.1.0/24", MAC_A, 1);
  assertEquals(steps(diff({ ...NOTHING, routes: [direct] }, before)), [
    "replace route",
    "delete fdb",
    "delete neighbour",
  ]);
});

Deno.test("diff() replaces another address only after the new one is there", () => {
  const address = (address: number, prefixLength: number) => ({
    index: DEVICE,
    address,
    prefixLength,
    scope: RT_SCOPE_UNIVERSE,
    flags: 0x80,
  });
  // 0.7.1's udp put the network's length on the device.
  const operations = diff(
    { ...NOTHING, addresses: [address(0x0a140100, 32)] },
    { ...NOTHING, addresses: [address(0x0a140100, 16), address(0x0a140900, 32)] },
  );
  assertEquals(steps(operations), ["replace address", "delete address", "delete address"]);
});

Deno.test("diff() of equal objects is empty, in whatever order they come", () => {
  fc.assert(fc.property(anyDesired, (desired) => {
    const actual: KernelObjects = {
      addresses: [...desired.addresses].reverse(),
      neighbours: [...desired.neighbours].reverse(),
      fdb: [...desired.fdb].reverse(),
      routes: [...desired.routes].reverse(),
    };
    assertEquals(diff(desired, actual), []);
  }));
});

Deno.test("diff() leads from any objects to any others", () => {
  fc.assert(fc.property(anyDesired, anyActual, (desired, actual) => {
    const kernel = new KernelModel(actual);
    kernel.apply(diff(desired, actual));
    assertEquals(kernel.objects, sorted(desired));
    assertEquals(diff(desired, kernel.objects), []);
  }));
});

Deno.test("diff() never leaves a wanted route away, and does no more than it must", () => {
  fc.assert(fc.property(anyDesired, anyActual, (desired, actual) => {
    const wanted = new Set([...desired.routes].map(routeKey));
    const had = new Set([...actual.routes].map(routeKey));
    const kernel = new KernelModel(actual);
    const operations = diff(desired, actual);
    for (const operation of operations) {
      kernel.apply([operation]);
      const has = new Set([...kernel.objects.routes].map(routeKey));
      for (const key of had) if (wanted.has(key)) assert(has.has(key), key);
    }
    const different = [...desired.routes].filter((route) =>
      ![...actual.routes].some((is) => routeKey(is) === routeKey(route) && sameRoute(is, route))
    );
    const gone = [...had].filter((key) => !wanted.has(key));
    const ofRoutes = operations.filter(({ kind }) => kind === "route");
    assertEquals(ofRoutes.length, different.length + gone.length);
  }));
});

Deno.test("sameRoute() and sameNeighbour() notice every member but those of the key", () => {
  fc.assert(fc.property(anyRoute, anyRoute, (a, b) => {
    const text = ({ oif, gateway, onlink, protocol, scope, source }: Route) =>
      JSON.stringify([oif, gateway, onlink, protocol, scope, source]);
    assertEquals(sameRoute(a, b), text(a) === text(b));
    assert(sameRoute(a, { ...a }));
  }));
  fc.assert(fc.property(anyNeighbour, anyNeighbour, (a, b) => {
    assertEquals(sameNeighbour(a, b), JSON.stringify(a) === JSON.stringify(b));
  }));
});
