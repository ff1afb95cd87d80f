import { assertEquals, assertRejects } from "@std/assert";
import { ConfigError } from "../mod/config/mod.ts";
import { checkConfig } from "./check_config.ts";

const config = (backend: string) => `{"Network": "10.20.0.0/16", "Backend": {${backend}}}`;

Deno.test("checkConfig() reads the options of each backend", async () => {
  for (
    const [backend, mtu] of [
      ['"Type": "alloc"', 1500],
      ['"Type": "host-gw"', 1500],
      ['"Type": "UDP", "Port": 8286', 1472],
      ['"Type": "vxlan", "VNI": 7, "Port": 0, "GBP": true, "Learning": false', 1450],
      ['"Type": "aws-vpc", "RouteTableID": "rtb-0a1b2c3d4e5f60718", "RepairPeriod": 9', 1500],
      ['"Type": "gce", "RepairPeriod": 9', 1500],
      ['"Type": "vxlan", "MTU": 9000, "DirectRouting": true', 8950],
    ] as const
  ) {
    const checked = await checkConfig(config(backend));
    assertEquals([checked.mtu, checked.warnings], [mtu, []], backend);
  }
  assertEquals((await checkConfig('{"Network": "10.20.0.0/16"}')).mtu, 1472);
});

Deno.test("checkConfig() refuses a bad option and an unknown backend", async () => {
  for (
    const [backend, message] of [
      ['"Type": "vxlan", "VNI": 16777216', "Backend.VNI must be a whole number from 0 to 16777215"],
      ['"Type": "udp", "Port": "8285"', "Backend.Port must be a whole number"],
      ['"Type": "aws-vpc", "RouteTableID": "main"', "Backend.RouteTableID must be the id of a"],
      ['"Type": "gce", "RepairPeriod": 0', "Backend.RepairPeriod must be a whole number"],
      ['"Type": "vlan"', "unknown backend type: vlan"],
    ] as const
  ) await assertRejects(() => checkConfig(config(backend)), ConfigError, message);
});

Deno.test("checkConfig() warns of options that the backend does not have", async () => {
  const { warnings } = await checkConfig(config('"Type": "udp", "Prot": 8286, "VNI": 7'));
  assertEquals(warnings, [
    "Backend.Prot is not a key of backend udp and is ignored; did you mean Port?",
    "Backend.VNI is not a key of backend udp and is ignored",
  ]);
  const { warnings: ofGce } = await checkConfig(config('"Type": "gce", "RouteTableID": "x"'));
  assertEquals(ofGce, ["Backend.RouteTableID is not a key of backend gce and is ignored"]);
});
