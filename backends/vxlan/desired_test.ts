import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import type { JsonValue, Lease } from "../../mod/lease/mod.ts";
import { ip, net, vxlan } from "../../mod/store/testing/store_lab.ts";
import { deviceAddress } from "../reconciled/device.ts";
import { type PeerContext, peerObjects as objectsOf, peerRefusal } from "../reconciled/driver.ts";
import { makeLease, peerContext, recordingContext } from "../testing/unit_kit.ts";
import { vtepMac } from "./vtep_mac.ts";
import { vxlanBackend } from "./vxlan.ts";

const MAC = "c6:8a:3d:5f:56:2e";

function lease(
  subnet: string,
  publicIP: string,
  changes: Partial<Lease["attributes"]> = {},
): Lease {
  return makeLease(subnet, publicIP, { ...vxlan(publicIP, MAC), ...changes });
}

const CONTEXT = peerContext();
const DRIVER = vxlanBackend.driver(await recordingContext({ Type: "vxlan" }));
const peerObjects = (lease: Lease, context: PeerContext) => objectsOf(DRIVER, lease, context);
const vxlanRefusal = (lease: Lease, context: PeerContext) =>
  peerRefusal("vxlan", DRIVER, lease, context);

Deno.test("peerObjects() of a tunnelled peer are a neighbour, an FDB entry and an onlink route", () => {
  assertEquals(peerObjects(lease("10.20.65.0/24", "172.28.128.102"), CONTEXT), {
    neighbour: { index: 7, address: ip("10.20.65.0"), mac: MAC, state: 0x80 },
    fdb: { index: 7, mac: MAC, destination: ip("172.28.128.102"), state: 0x80 },
    route: {
      destination: net("10.20.65.0/24"),
      gateway: ip("10.20.65.0"),
      oif: 7,
      onlink: true,
      protocol: 102,
      scope: 0,
      table: 254,
      metric: 0,
    },
  });
});

Deno.test("peerObjects() of a direct peer are a plain route by the external interface", () => {
  const direct = ip("172.28.128.102");
  const context = { ...CONTEXT, isDirect: (address: number) => address === direct };
  assertEquals(peerObjects(lease("10.20.65.0/24", "172.28.128.102"), context), {
    route: {
      destination: net("10.20.65.0/24"),
      gateway: direct,
      oif: 2,
      onlink: false,
      protocol: 102,
      scope: 0,
      table: 254,
      metric: 0,
    },
  });
  assert(peerObjects(lease("10.20.66.0/24", "172.28.129.1"), context).fdb !== undefined);
});

Deno.test("peerObjects() depend on nothing but what the lease says", () => {
  const { revision: _, ...first } = lease("10.20.65.0/24", "172.28.128.102");
  assertEquals(
    peerObjects({ ...first, revision: "1", ttl: 5 }, CONTEXT),
    peerObjects({ ...first, revision: "2" }, CONTEXT),
  );
});

Deno.test("deviceAddress() is the lease's base address alone", () => {
  assertEquals(deviceAddress(CONTEXT.own, 7), {
    index: 7,
    address: ip("10.20.93.0"),
    prefixLength: 32,
    scope: 0,
    flags: 0x80,
  });
});

Deno.test("vtepMac() reads the MAC of either flannel's data", () => {
  assertEquals(vtepMac({ VtepMAC: MAC }), MAC);
  assertEquals(vtepMac({ VNI: 1, VtepMAC: MAC }), MAC);
  assertEquals(vtepMac({ vtepmac: "C6:8A:3D:5F:56:2E" }), MAC);
  assertEquals(vtepMac({ VtepMAC: "c6-8a-3d-5f-56-2e" }), MAC);
});

Deno.test("vtepMac() takes nothing that no VTEP can have", () => {
  const values: readonly (JsonValue | undefined)[] = [
    ...[undefined, null, "c6:8a:3d:5f:56:2e", 7, [], ["c6:8a:3d:5f:56:2e"], {}, { VNI: 1 }],
    ...["", "c6:8a:3d:5f:56", "c6:8a:3d:5f:56:2e:00", "c6:8a:3d:5f:56:2g", "c68a3d5f562e"]
      .map((VtepMAC) => ({ VtepMAC })),
    { VtepMAC: 7 },
    { VtepMAC: null },
    { VtepMAC: "00:00:00:00:00:00" },
    { VtepMAC: "ff:ff:ff:ff:ff:ff" },
    // A group address: bit 0 of the first octet.
    { VtepMAC: "01:00:5e:00:00:01" },
    { VtepMAC: " c6:8a:3d:5f:56:2e" },
  ];
  for (const value of values) assertEquals(vtepMac(value), undefined, JSON.stringify(value));
});

Deno.test("vtepMac() throws for no JSON whatever, and gives a MAC or nothing", () => {
  const data = fc.oneof(
    fc.jsonValue().map((value) => value as JsonValue),
    fc.dictionary(fc.constantFrom("VtepMAC", "vtepMac", "x"), fc.string()),
  );
  fc.assert(fc.property(data, (value) => {
    const mac = vtepMac(value);
    assert(mac === undefined || /^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$/.test(mac), String(mac));
  }));
});

Deno.test("vxlanRefusal() lets a peer of either flannel pass", () => {
  assertEquals(vxlanRefusal(lease("10.20.65.0/24", "172.28.128.102"), CONTEXT), undefined);
  const newer = { backendData: { VNI: 1, VtepMAC: MAC } };
  assertEquals(vxlanRefusal(lease("10.20.65.0/24", "172.28.128.102", newer), CONTEXT), undefined);
});

Deno.test("vxlanRefusal() names what is wrong with a lease", () => {
  const peer = (changes: Partial<Lease["attributes"]>) =>
    lease("10.20.65.0/24", "172.28.128.102", changes);
  const { backendData: _, ...bare } = peer({}).attributes;
  const cases: readonly (readonly [Lease, string])[] = [
    [peer({ backendType: "host-gw" }), "is non-vxlan: type=host-gw"],
    [{ ...peer({}), attributes: { publicIP: 1 } }, "is non-vxlan: type=udp or none"],
    // Rules that all backends share.
    [lease("10.21.65.0/24", "172.28.128.102"), "is outside Network 10.20.0.0/16"],
    [lease("10.20.93.0/25", "172.28.128.102"), "overlaps our own subnet 10.20.93.0/24"],
    [{ ...peer({}), attributes: bare }, "has no usable VtepMAC in its BackendData (nothing)"],
    [
      peer({ backendData: { VtepMAC: "ff:ff:ff:ff:ff:ff" } }),
      'has no usable VtepMAC in its BackendData ({"VtepMAC":"ff:ff:ff:ff:ff:ff"})',
    ],
    [
      peer({ backendData: { VtepMAC: "\x9b2J" } }),
      'has no usable VtepMAC in its BackendData ({"VtepMAC":"\x9b2J"})',
    ],
  ];
  for (const [lease, reason] of cases) assertEquals(vxlanRefusal(lease, CONTEXT), reason);
});

Deno.test("vxlanRefusal() quotes no more of a lease than a line bears", () => {
  const text = "x".repeat(5000);
  for (const changes of [{ backendData: text }, { backendType: text }]) {
    const reason = vxlanRefusal(lease("10.20.65.0/24", "172.28.128.102", changes), CONTEXT)!;
    assert(reason.length < 150 && reason.includes("..."), reason);
  }
});
