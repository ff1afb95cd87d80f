import { assertEquals, assertThrows } from "@std/assert";
import { ConfigError, GoObject } from "../../mod/config/mod.ts";
import { vxlanOptions } from "./options.ts";

/** The options of a `Backend` object on an interface with an MTU of 1500. */
function options(text: string, mtu = 1500) {
  const config = GoObject.parse(`{"Backend": ${text}}`);
  return vxlanOptions(config.object("Backend")!, mtu);
}

Deno.test("vxlanOptions() defaults to flannel's VNI 1 and Linux's port, less 50 bytes of MTU", () => {
  assertEquals(options('{"Type": "vxlan"}'), {
    vni: 1,
    port: 8472,
    gbp: false,
    learning: false,
    directRouting: false,
    mtu: 1450,
  });
});

Deno.test("vxlanOptions() takes every option, its key in any case", () => {
  const text = '{"type": "vxlan", "vni": 256, "PORT": 4789, "Gbp": true, "learning": true,' +
    ' "DIRECTROUTING": true, "mtu": 1400, "MacPrefix": "0E-2A"}';
  assertEquals(options(text), {
    vni: 256,
    port: 4789,
    gbp: true,
    learning: true,
    directRouting: true,
    mtu: 1350,
  });
});

Deno.test("vxlanOptions() takes 0 for the kernel's port and for the interface's MTU", () => {
  const { port, mtu } = options('{"Port": 0, "MTU": 0}', 9000);
  assertEquals([port, mtu], [8472, 8950]);
});

Deno.test("vxlanOptions() takes both ends of each range", () => {
  assertEquals(options('{"VNI": 0}').vni, 0);
  assertEquals(options('{"VNI": 16777215}').vni, 2 ** 24 - 1);
  assertEquals(options('{"Port": 65535}').port, 65535);
  assertEquals(options('{"MTU": 118}').mtu, 68);
  assertEquals(options('{"MTU": 65535}').mtu, 65485);
});

Deno.test("vxlanOptions() names key, value and what would be right", () => {
  const cases: readonly (readonly [string, string])[] = [
    ['{"VNI": -1}', "Backend.VNI must be a whole number from 0 to 16777215, not -1"],
    ['{"VNI": 16777216}', "Backend.VNI must be a whole number from 0 to 16777215, not 16777216"],
    ['{"Port": 65536}', "Backend.Port must be a whole number from 0 to 65535, not 65536"],
    [
      '{"MTU": 117}',
      "Backend.MTU must be from 118 to 65535, or 0 for the interface's own, not 117",
    ],
    ['{"MTU": 65536}', "Backend.MTU must be a whole number from 0 to 65535, not 65536"],
  ];
  for (const [text, message] of cases) {
    assertEquals(assertThrows(() => options(text), ConfigError).message, message);
  }
  for (const text of ['{"VNI": "1"}', '{"VNI": 1.5}', '{"GBP": 1}', '{"DirectRouting": "true"}']) {
    assertThrows(() => options(text), ConfigError, "Backend.");
  }
});
