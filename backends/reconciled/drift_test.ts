import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { ip, net, vxlan } from "../../mod/store/testing/store_lab.ts";
import type {
  FdbEntry,
  KernelEvent,
  Link,
  Neighbour,
  Operation,
  Route,
} from "../../mod/sys/mod.ts";
import { diff } from "../reconcile.ts";
import { DEVICE, EXTERNAL } from "../testing/reconcile_lab.ts";
import { makeLease, peerContext, recordingContext } from "../testing/unit_kit.ts";
import { vxlanBackend } from "../vxlan/vxlan.ts";
import { deviceAddress } from "./device.ts";
import { type PeerObjects, peerObjects } from "./driver.ts";
import { drift, type OwnState } from "./drift.ts";
import { PeerIndex } from "./peer_index.ts";
import { IFF_UP } from "../../mod/sys/linux_constants.ts";

const LINK: Link = {
  index: DEVICE,
  name: "flannel.1",
  flags: IFF_UP,
  mtu: 1450,
  mac: "0e:00:00:00:00:99",
};

const CONTEXT = peerContext({
  own: makeLease("10.20.93.0/24", "192.0.2.1"),
  publicIP: ip("192.0.2.1"),
  isDirect: (address) => address === ip("198.51.100.1"),
});

const DRIVER = vxlanBackend.driver(await recordingContext({ Type: "vxlan" }));

function peer(subnet: string, publicIP: string, mac: string): PeerObjects {
  const attributes = vxlan(publicIP, mac);
  return peerObjects(DRIVER, { subnet: net(subnet), attributes, revision: "1" }, CONTEXT);
}

function state(...peers: PeerObjects[]): OwnState {
  const index = new PeerIndex();
  for (const objects of peers) index.add(objects);
  return { device: { link: LINK, address: deviceAddress(CONTEXT.own, DEVICE) }, peers: index };
}

const A = peer("10.20.1.0/24", "192.0.2.2", "0e:00:00:00:00:01");
const OWN = state(A);
const [NEIGHBOUR, ENTRY, ROUTE] = [A.neighbour!, A.fdb!, A.route];

/** Report of each event. */
function assertReports(cases: readonly (readonly [KernelEvent, string | undefined])[]): void {
  for (const [event, report] of cases) assertEquals(drift(event, OWN), report, event.type);
}

Deno.test("drift() sees to the device", () => {
  const other = { ...LINK, index: EXTERNAL, name: "eth1", flags: 0 };
  assertReports([
    [{ type: "link", link: LINK }, undefined],
    [{ type: "link", link: { ...LINK, flags: IFF_UP | 0x10000 } }, undefined],
    [{ type: "link", link: { ...LINK, flags: 0 } }, "device flannel.1 set down"],
    [{ type: "link", link: { ...LINK, mtu: 1500 } }, "MTU of flannel.1 altered"],
    [{ type: "link", link: { ...LINK, mac: "0e:00:00:00:00:98" } }, "MAC of flannel.1 altered"],
    [{ type: "link-removed", link: LINK }, "device flannel.1 removed"],
    [{ type: "link", link: other }, undefined],
    [{ type: "link-removed", link: other }, undefined],
  ]);
});

Deno.test("drift() sees to the device's address", () => {
  const { address } = OWN.device!;
  assertReports([
    [{ type: "address", address }, undefined],
    [{ type: "address-removed", address }, "address of flannel.1 removed"],
    [{ type: "address-removed", address: { ...address, address: ip("10.20.9.0") } }, undefined],
    [{ type: "address-removed", address: { ...address, index: EXTERNAL } }, undefined],
  ]);
});

Deno.test("drift() sees to the routes of peers", () => {
  const removed = "route to 10.20.1.0/24 removed";
  const altered = "route to 10.20.1.0/24 altered";
  const other: Route = { ...ROUTE, gateway: ip("192.0.2.9"), oif: EXTERNAL, onlink: false };
  assertReports([
    [{ type: "route", route: ROUTE }, undefined],
    [{ type: "route-removed", route: ROUTE }, removed],
    [{ type: "route", route: other }, altered],
    [{ type: "route", route: { ...ROUTE, protocol: 3 } }, altered],
    // The object in place of the backend's is gone; the backend's is reported by itself.
    [{ type: "route-removed", route: other }, undefined],
    // Not the same route to the kernel.
    [{ type: "route", route: { ...other, metric: 100 } }, undefined],
    [{ type: "route-removed", route: { ...ROUTE, table: 100 } }, undefined],
    [{ type: "route-removed", route: { ...ROUTE, destination: net("10.20.1.0/25") } }, undefined],
    [{ type: "route-removed", route: { ...ROUTE, destination: net("0.0.0.0/0") } }, undefined],
  ]);
});

Deno.test("drift() sees to the neighbours of peers", () => {
  const report = "neighbour 10.20.1.0 removed or altered";
  const other: Neighbour = { ...NEIGHBOUR, mac: "0e:00:00:00:00:09" };
  assertReports([
    [{ type: "neighbour", neighbour: NEIGHBOUR }, undefined],
    [{ type: "neighbour", neighbour: other }, report],
    [{ type: "neighbour", neighbour: { ...NEIGHBOUR, state: 0x02 } }, report],
    [{ type: "neighbour-removed", neighbour: NEIGHBOUR }, report],
    [{ type: "neighbour-removed", neighbour: { ...NEIGHBOUR, index: EXTERNAL } }, undefined],
    // A container's, in a peer's subnet.
    [{ type: "neighbour", neighbour: { ...other, address: ip("10.20.1.7") } }, undefined],
    [{ type: "neighbour-removed", neighbour: { ...other, address: ip("10.20.2.0") } }, undefined],
  ]);
});

Deno.test("drift() sees to the FDB entries of peers", () => {
  const removed = "FDB entry 0e:00:00:00:00:01 removed";
  const altered = "FDB entry 0e:00:00:00:00:01 altered";
  const other: FdbEntry = { ...ENTRY, destination: ip("192.0.2.9") };
  assertReports([
    [{ type: "fdb", entry: ENTRY }, undefined],
    [{ type: "fdb-removed", entry: ENTRY }, removed],
    [{ type: "fdb", entry: other }, altered],
    [{ type: "fdb", entry: { ...ENTRY, state: 0x02 } }, altered],
    [{ type: "fdb-removed", entry: other }, undefined],
    [{ type: "fdb-removed", entry: { ...ENTRY, index: EXTERNAL } }, undefined],
    [{ type: "fdb", entry: { ...other, mac: "0e:00:00:00:00:09" } }, undefined],
  ]);
});

Deno.test("drift() takes lost events for damage", () => {
  assertReports([[{ type: "overrun" }, "kernel events were lost"]]);
});

/** Events of the kernel's monitor for an operation. */
function eventOf({ op, kind, object }: Operation): KernelEvent {
  switch (kind) {
    case "route":
      return { type: op === "delete" ? "route-removed" : "route", route: object as Route };
    case "neighbour":
      return {
        type: op === "delete" ? "neighbour-removed" : "neighbour",
        neighbour: object as Neighbour,
      };
    case "fdb":
      return { type: op === "delete" ? "fdb-removed" : "fdb", entry: object as FdbEntry };
    default:
      throw new TypeError(`unexpected ${kind}`);
  }
}

const anyPeers = fc.uniqueArray(
  fc.tuple(
    fc.constantFrom("10.20.1.0/24", "10.20.2.0/24", "10.20.3.0/25", "10.20.4.0/24"),
    fc.constantFrom("192.0.2.2", "192.0.2.3", "198.51.100.1"),
    fc.constantFrom("0e:00:00:00:00:01", "0e:00:00:00:00:02", "0e:00:00:00:00:03"),
  ).map((args) => peer(...args)),
  { selector: ({ route }) => route.destination.key, maxLength: 4 },
);

Deno.test("drift() takes our own changes for none", () => {
  fc.assert(fc.property(anyPeers, anyPeers, (before, after) => {
    const own = state(...before);
    const leaving = before.map(({ route }) => route.destination);
    const change = own.peers.change(leaving, after);
    for (const operation of diff(change.after, change.before)) {
      assertEquals(drift(eventOf(operation), own), undefined);
    }
  }));
});

Deno.test("drift() reports every deleted object of the backend", () => {
  fc.assert(fc.property(anyPeers, (peers) => {
    const own = state(...peers);
    const nothing = { addresses: [], neighbours: [], fdb: [], routes: [] };
    const deletions = diff(nothing, { ...own.peers.objects(), addresses: [] });
    for (const operation of deletions) {
      assert(drift(eventOf(operation), own) !== undefined, JSON.stringify(operation));
    }
  }));
});
