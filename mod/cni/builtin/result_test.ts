import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import fc from "fast-check";
import { parseIPv4, Prefix } from "../../ip/mod.ts";
import { isInterfaceName } from "../call.ts";
import { CniError } from "../errors.ts";
import type { JsonObject } from "../json.ts";
import { hostEndOf, macOf } from "./names.ts";
import { readBuiltin } from "./options.ts";
import { type Attached, encodeResult } from "./result.ts";

const ATTACHED: Attached = {
  bridge: { name: "cni0", mac: "0a:58:0a:14:5d:01" },
  hostEnd: { name: "veth1", mac: "02:00:00:00:00:01" },
  container: { name: "eth0", mac: "0a:58:0a:14:5d:02", sandbox: "/run/netns/c1" },
  mtu: 1450,
  address: parseIPv4("10.20.93.2")!,
  prefixLength: 24,
  gateway: parseIPv4("10.20.93.1")!,
  networks: [Prefix.parse("10.20.0.0/16")!],
  isDefaultGateway: false,
};
const DNS = { nameservers: ["10.20.0.10"] };

Deno.test("encodeResult() encodes a result of each version", () => {
  const ips = { address: "10.20.93.2/24", gateway: "10.20.93.1", interface: 2 };
  const interfaces = [ATTACHED.bridge, ATTACHED.hostEnd, ATTACHED.container];
  const result = {
    ...{ interfaces, ips: [ips], routes: [{ dst: "10.20.0.0/16", gw: "10.20.93.1" }] },
    dns: DNS,
  };
  const encode = (version: Parameters<typeof encodeResult>[2]) =>
    JSON.parse(encodeResult(ATTACHED, DNS, version));
  assertEquals(encode("1.0.0"), { cniVersion: "1.0.0", ...result });
  assertEquals(encode("0.3.1"), {
    ...{ cniVersion: "0.3.1", ...result, ips: [{ version: "4", ...ips }] },
  });
  assertEquals(encode("1.1.0").interfaces, interfaces.map((entry) => ({ ...entry, mtu: 1450 })));
});

Deno.test("hostEndOf() gives each attachment a name of its own that the kernel takes", () => {
  const names = new Set<string>();
  for (let id = 0; id < 10_000; id++) {
    const name = hostEndOf("cbr0", { containerID: `c${id}`, ifname: "eth0" });
    assertMatch(name, /^veth[0-9a-f]{11}$/);
    names.add(name);
  }
  assertEquals(names.size, 10_000);
  const name = fc.string({ maxLength: 20 });
  fc.assert(fc.property(name, name, name, (network, containerID, ifname) => {
    assertEquals(isInterfaceName(hostEndOf(network, { containerID, ifname })), true);
  }));
});

Deno.test("macOf() is a unicast address of local administration", () => {
  assertEquals(macOf(parseIPv4("10.20.93.2")!), "0a:58:0a:14:5d:02");
});

Deno.test("readBuiltin() has defaults, and refuses unknown members and values", () => {
  assertEquals(readBuiltin({}), {
    ...{ bridge: "cni0", hairpinMode: false, isDefaultGateway: true },
    leaseDir: "/run/flannel/cni",
  });
  assertEquals(readBuiltin({ mtu: 1400 }).mtu, 1400);
  const cases: readonly (readonly [JsonObject, number, string])[] = [
    [{ ipMasq: true }, 2, "unsupported field builtin.ipMasq: true"],
    [{ bridge: "a/b" }, 7, 'invalid builtin.bridge: "a/b"'],
    [{ mtu: "1400" }, 7, 'invalid builtin.mtu: "1400"'],
    [{ mtu: 67 }, 7, "invalid builtin.mtu: 67"],
    [{ hairpinMode: 1 }, 7, "invalid builtin.hairpinMode: 1"],
    [{ isDefaultGateway: null }, 7, "invalid builtin.isDefaultGateway: null"],
    [{ leaseDir: "leases" }, 7, 'invalid builtin.leaseDir: "leases"'],
  ];
  for (const [input, code, message] of cases) {
    const error = assertThrows(() => readBuiltin(input), CniError);
    assertEquals([error.code, error.message], [code, message]);
  }
});
