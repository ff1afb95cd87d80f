import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { ip, net, vxlan } from "../../mod/store/testing/store_lab.ts";
import { diff, type KernelObjects } from "../reconcile.ts";
import { KernelModel, sorted } from "../testing/reconcile_lab.ts";
import { makeLease, peerContext, recordingContext } from "../testing/unit_kit.ts";
import { vxlanBackend } from "../vxlan/vxlan.ts";
import { type PeerObjects, peerObjects } from "./driver.ts";
import { PeerIndex } from "./peer_index.ts";

const DIRECT = ip("198.51.100.1");

const CONTEXT = peerContext({
  own: makeLease("10.20.93.0/24", "192.0.2.1"),
  publicIP: ip("192.0.2.1"),
  isDirect: (address) => address === DIRECT,
});

const DRIVER = vxlanBackend.driver(await recordingContext({ Type: "vxlan" }));

/** The objects of a peer; the one at {@linkcode DIRECT} has a route alone. */
function peer(subnet: string, publicIP: string, mac: string): PeerObjects {
  const attributes = vxlan(publicIP, mac);
  return peerObjects(DRIVER, { subnet: net(subnet), attributes, revision: "1" }, CONTEXT);
}

const A = peer("10.20.1.0/24", "192.0.2.2", "0e:00:00:00:00:01");
const B = peer("10.20.2.0/24", "192.0.2.3", "0e:00:00:00:00:02");

const NOTHING: KernelObjects = { addresses: [], neighbours: [], fdb: [], routes: [] };

function objects(index: PeerIndex): KernelObjects {
  return sorted({ ...index.objects(), addresses: [] });
}

Deno.test("PeerIndex finds a peer by subnet, VTEP and neighbour", () => {
  const index = new PeerIndex();
  index.add(A);
  index.add(B);
  assertEquals(index.size, 2);
  assertEquals(index.get(net("10.20.1.0/24")), A);
  assertEquals(index.get(net("10.20.1.0/25")), undefined);
  assertEquals(index.vtep("0e:00:00:00:00:02"), B.fdb);
  assertEquals(index.vtep("0e:00:00:00:00:09"), undefined);
  assertEquals(index.neighbour(ip("10.20.1.0")), A.neighbour);
  assertEquals(index.neighbour(ip("10.20.1.1")), undefined);
  assertEquals(index.remove(net("10.20.1.0/24")), A);
  assertEquals(index.remove(net("10.20.1.0/24")), undefined);
  assertEquals([index.size, index.vtep(A.fdb!.mac)], [1, undefined]);
  index.clear();
  assertEquals([index.size, objects(index)], [0, NOTHING]);
});

Deno.test("PeerIndex keeps a VTEP until the last of its subnets goes", () => {
  const index = new PeerIndex();
  const mac = "0e:00:00:00:00:01";
  const moved = peer("10.20.7.0/24", "192.0.2.2", mac);
  index.add(A);
  assertEquals(steps(index, [], [moved]), ["replace neighbour", "add route"]);
  assertEquals(steps(index, ["10.20.1.0/24"], []), ["delete route", "delete neighbour"]);
  assertEquals(index.vtep(mac), moved.fdb);
  assertEquals(steps(index, ["10.20.7.0/24"], []), [
    "delete route",
    "delete fdb",
    "delete neighbour",
  ]);
});

Deno.test("PeerIndex leads a shared VTEP back to the host that stays", () => {
  // A MAC that was cloned, or a host that has another address for a while.
  const index = new PeerIndex();
  const twin = peer("10.20.7.0/24", "192.0.2.9", A.fdb!.mac);
  index.add(A);
  index.add(twin);
  assertEquals(index.vtep(A.fdb!.mac)?.destination, ip("192.0.2.9"));
  const { before, after } = index.change([net("10.20.7.0/24")], []);
  assertEquals([[...before.fdb], [...after.fdb]], [[twin.fdb!], [A.fdb!]]);
  assertEquals(index.vtep(A.fdb!.mac), A.fdb);
});

Deno.test("PeerIndex.change() returns the changes for a peer with a new MAC", () => {
  const index = new PeerIndex();
  index.add(A);
  index.add(B);
  const rebooted = peer("10.20.1.0/24", "192.0.2.2", "0e:00:00:00:00:0a");
  assertEquals(steps(index, ["10.20.1.0/24"], [rebooted]), [
    "replace neighbour",
    "replace fdb",
    "delete fdb",
  ]);
  // The same once more is nothing.
  assertEquals(steps(index, ["10.20.1.0/24"], [rebooted]), []);
});

Deno.test("PeerIndex.change() replaces a peer that was not removed", () => {
  const index = new PeerIndex();
  index.add(A);
  const rebooted = peer("10.20.1.0/24", "192.0.2.2", "0e:00:00:00:00:0a");
  index.change([], [rebooted]);
  assertEquals([index.size, index.vtep(A.fdb!.mac)], [1, undefined]);
});

Deno.test("PeerIndex.change() of many peers costs what they are, not their square", () => {
  const index = new PeerIndex();
  const peers = Array.from({ length: 20_000 }, (_, i) => {
    const [high, low] = [i >> 8, i & 255];
    const mac = [0x0e, 0, 0, 0, high, low].map((octet) => octet.toString(16).padStart(2, "0"));
    return peer(`10.${high}.${low}.0/24`, `192.0.2.${low}`, mac.join(":"));
  });
  assertEquals([...index.change([], peers).after.routes].length, 20_000);
  const { before, after } = index.change(peers.map(({ route }) => route.destination), peers);
  assertEquals(diff(after, before), []);
});

/** Operations of a change, by kind. */
function steps(index: PeerIndex, leaving: string[], coming: PeerObjects[]): string[] {
  const { before, after } = index.change(leaving.map(net), coming);
  return diff(after, before).map(({ op, kind }) => `${op} ${kind}`);
}

/** Few subnets, hosts and MACs: shared VTEPs, and base addresses that two lengths share. */
const anyPeer = fc.tuple(
  fc.constantFrom("10.20.1.0/24", "10.20.1.0/25", "10.20.2.0/24", "10.20.3.0/24"),
  fc.constantFrom("192.0.2.2", "192.0.2.3", "192.0.2.4", "198.51.100.1"),
  fc.constantFrom("0e:00:00:00:00:01", "0e:00:00:00:00:02"),
).map((args) => peer(...args));

const anyChange = fc.record({
  leaving: fc.array(anyPeer.map(({ route }) => route.destination), { maxLength: 3 }),
  coming: fc.uniqueArray(anyPeer, { selector: ({ route }) => route.destination.key, maxLength: 3 }),
});

Deno.test("PeerIndex.change() ends where an index made from scratch does, and so does the kernel", () => {
  fc.assert(
    fc.property(fc.array(anyChange, { maxLength: 12 }), (changes) => {
      const index = new PeerIndex();
      const kernel = new KernelModel(NOTHING);
      let peers: PeerObjects[] = [];
      for (const { leaving, coming } of changes) {
        const gone = [...leaving, ...coming.map(({ route }) => route.destination)];
        peers = peers.filter(({ route }) =>
          !gone.some((subnet) => subnet.equals(route.destination))
        );
        peers.push(...coming);
        const scratch = new PeerIndex();
        for (const objects of peers) scratch.add(objects);

        const { before, after } = index.change(leaving, coming);
        kernel.apply(diff(after, before));

        assertEquals(objects(index), objects(scratch));
        assertEquals(kernel.objects, objects(scratch));
        assertEquals(index.size, peers.length);
        for (const objects of peers) {
          assertEquals(index.get(objects.route.destination), objects);
          if (objects.fdb === undefined) continue;
          assertEquals(index.vtep(objects.fdb.mac), scratch.vtep(objects.fdb.mac));
          const { address } = objects.neighbour!;
          assertEquals(index.neighbour(address), scratch.neighbour(address));
        }
      }
    }),
    { numRuns: 300 },
  );
});
