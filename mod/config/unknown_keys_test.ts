import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { CHARACTER } from "../text/testing/character.ts";
import { decodeNetworkConfig } from "./decode.ts";
import { unknownKeys } from "./unknown_keys.ts";

const NETWORK = '"Network": "10.20.0.0/16"';

/** As after a backend has read its options. */
async function unknown(text: string, options: readonly string[] = ["VNI", "Port"]) {
  const config = await decodeNetworkConfig(text);
  for (const key of options) config.backend.options.has(key);
  return unknownKeys(config);
}

Deno.test("unknownKeys() returns nothing for a config with known keys only", async () => {
  const text = `{${NETWORK}, "subnetlen": 24, "SubnetMin": "10.20.9.0", "SUBNETMAX": "10.20.99.0",
    "EnableIPv4": true, "EnableIPv6": false, "IPv6Network": "fc00::/48", "IPv6SubnetLen": 64,
    "IPv6SubnetMin": "fc00::", "IPv6SubnetMax": "fc00::", "EnableNFTables": true,
    "Backend": {"type": "vxlan", "vni": 7, "Port": 0}}`;
  assertEquals(await unknown(text), []);
  assertEquals(await unknown(`{${NETWORK}}`), []);
});

Deno.test("unknownKeys() names the key that was probably meant", async () => {
  assertEquals(await unknown(`{${NETWORK}, "SubnetLenght": 25, "Backnd": {}, "Owner": "ops"}`), [
    "SubnetLenght is not a key of the network config and is ignored; did you mean SubnetLen?",
    "Backnd is not a key of the network config and is ignored; did you mean Backend?",
    "Owner is not a key of the network config and is ignored",
  ]);
  assertEquals(await unknown(`{${NETWORK}, "Backend": {"Type": "vxlan", "VIN": 7}}`), [
    "Backend.VIN is not a key of backend vxlan and is ignored; did you mean VNI?",
  ]);
});

Deno.test("unknownKeys() names twenty keys of an object, and the number of the others", async () => {
  const keys = Array.from({ length: 25 }, (_, i) => `"Key${i}": 1`).join();
  const lines = await unknown(`{${NETWORK}, ${keys}, "Backend": {"Type": "udp", ${keys}}}`);
  assertEquals(lines.length, 41);
  assertEquals(lines[40], "10 more unknown keys are ignored");
});

Deno.test("unknownKeys() names the right object of a misplaced key", async () => {
  assertEquals(await unknown(`{${NETWORK}, "Type": "vxlan", "vni": 7}`), [
    'Type is not a key of the network config and is ignored; Type belongs inside "Backend": {...}',
    'vni is not a key of the network config and is ignored; VNI belongs inside "Backend": {...}',
  ]);
  assertEquals(await unknown(`{${NETWORK}, "Backend": {"Type": "udp", "SubnetLen": 25}}`), [
    "Backend.SubnetLen is not a key of backend udp and is ignored; " +
    'SubnetLen belongs outside of "Backend"',
  ]);
});

Deno.test("unknownKeys() returns one line for any key", async () => {
  await fc.assert(fc.asyncProperty(fc.string({ unit: CHARACTER }), async (key) => {
    const lines = await unknown(`{${NETWORK}, ${JSON.stringify(key + "_")}: 1}`);
    assertEquals(lines.length, 1);
    assertEquals(lines[0]!.includes("\n"), false);
  }));
});
