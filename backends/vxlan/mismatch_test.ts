import { assertEquals } from "@std/assert";
import { ip } from "../../mod/store/testing/store_lab.ts";
import { type Link, VXLAN, type VxlanAttributes } from "../../mod/sys/mod.ts";
import { incompatibility } from "../reconciled/device.ts";
import { recordingContext } from "../testing/unit_kit.ts";
import { vxlanBackend } from "./vxlan.ts";

const ATTRIBUTES: Partial<VxlanAttributes> = {
  vni: 1,
  link: 2,
  local: ip("172.28.128.101"),
  port: 8472,
  learning: false,
  gbp: false,
};

const { external, ...context } = await recordingContext({ Type: "vxlan" });
const SPEC = vxlanBackend.driver({ ...context, external: { ...external, index: 2 } }).device!;

/** A device as the spec asks for, but for some attributes. */
function link(changes: Partial<VxlanAttributes> = {}): Link {
  return {
    index: 7,
    name: "flannel.1",
    flags: 0x1,
    mtu: 1450,
    mac: "0e:00:00:00:00:01",
    kind: "vxlan",
    data: VXLAN.encode({ ...ATTRIBUTES, ...changes }),
  };
}

Deno.test("incompatibility() finds none where MTU, flags and MAC alone differ", () => {
  assertEquals(incompatibility(link(), SPEC), undefined);
  const other = { ...link(), mtu: 1400, flags: 0, mac: "0e:00:00:00:00:09" };
  assertEquals(incompatibility(other, SPEC), undefined);
});

Deno.test("incompatibility() names what differs, in flannel's words", () => {
  const cases: readonly (readonly [Partial<VxlanAttributes>, string])[] = [
    [{ vni: 2 }, "vni: 2 vs 1"],
    [{ link: 3 }, "external interface: 3 vs 2"],
    [{ local: ip("10.0.2.15") }, "vtep (external) IP: 10.0.2.15 vs 172.28.128.101"],
    [{ group: ip("239.1.1.1") }, "group: 239.1.1.1 vs none"],
    [{ l2miss: true }, "l2miss: on vs off"],
    [{ l3miss: true }, "l3miss: on vs off"],
    [{ port: 4790 }, "port: 4790 vs 8472"],
    [{ gbp: true }, "gbp: true vs false"],
    [{ learning: true }, "learning: true vs false"],
  ];
  for (const [changes, reason] of cases) assertEquals(incompatibility(link(changes), SPEC), reason);
  const { local: _, ...unbound } = ATTRIBUTES;
  assertEquals(
    incompatibility({ ...link(), data: VXLAN.encode(unbound) }, SPEC),
    "vtep (external) IP: none vs 172.28.128.101",
  );
});

Deno.test("incompatibility() does not take a device of another kind", () => {
  const { data: _, kind: __, ...bare } = link();
  assertEquals(incompatibility({ ...bare, kind: "bridge" }, SPEC), "link type: bridge vs vxlan");
  assertEquals(incompatibility(bare, SPEC), "link type: physical vs vxlan");
});
