import { assertEquals, assertThrows } from "@std/assert";
import { readConfig } from "../config.ts";
import { CniError } from "../errors.ts";
import { encodeSorted, type JsonObject } from "../json.ts";
import { parseSubnetFile } from "../subnet_file.ts";
import { delegateConfig, withGateways } from "./delegate_config.ts";
import { reportedError } from "./run_plugin.ts";

const SUBNET = parseSubnetFile(
  "f",
  "FLANNEL_NETWORK=10.20.0.0/16\nFLANNEL_SUBNET=10.20.93.1/24\nFLANNEL_MTU=1450\n" +
    "FLANNEL_IPMASQ=false\n",
);

const generate = (more: JsonObject) =>
  delegateConfig(readConfig({ cniVersion: "0.3.1", name: "cbr0", ...more }, "ADD"), SUBNET);

Deno.test("delegateConfig() generates the configuration of upstream's plugin", () => {
  assertEquals(
    encodeSorted(generate({})),
    '{"cniVersion":"0.3.1","ipMasq":true,"ipam":{"ranges":[[{"subnet":"10.20.93.0/24"}]],' +
      '"routes":[{"dst":"10.20.0.0/16"}],"type":"host-local"},"isGateway":true,"mtu":1450,' +
      '"name":"cbr0","type":"bridge"}',
  );
});

Deno.test("delegateConfig() keeps what the delegate's members set", () => {
  const { mtu, ipMasq, isGateway, hairpinMode } = generate({
    delegate: { mtu: 1400, ipMasq: false, isGateway: false, hairpinMode: true },
  });
  assertEquals([mtu, ipMasq, isGateway, hairpinMode], [1400, false, false, true]);
  assertEquals(generate({ delegate: { type: "ptp" } }).isGateway, undefined);
});

Deno.test("delegateConfig() appends the networks to the routes of ipam, and passes runtimeConfig on", () => {
  const { ipam, runtimeConfig } = generate({
    ipam: { type: "custom", routes: [{ dst: "0.0.0.0/0" }], ranges: [] },
    runtimeConfig: { portMappings: [] },
  });
  assertEquals(ipam, {
    type: "custom",
    ranges: [[{ subnet: "10.20.93.0/24" }]],
    routes: [{ dst: "0.0.0.0/0" }, { dst: "10.20.0.0/16" }],
  });
  assertEquals(runtimeConfig, { portMappings: [] });
});

Deno.test("delegateConfig() refuses a type with a directory, and routes that are none", () => {
  for (const more of [{ delegate: { type: "/bin/sh" } }, { ipam: { routes: ["10.0.0.0/8"] } }]) {
    assertEquals(assertThrows(() => generate(more), CniError).code, 7);
  }
});

Deno.test("withGateways() names the gateway of the route's family", () => {
  const ips = [{ gateway: "10.20.93.1" }, { gateway: "fd00::1" }];
  const routes = [{ dst: "10.20.0.0/16" }, { dst: "fd00::/48" }, { dst: "::/0", gw: "fd00::2" }];
  assertEquals(withGateways({ ips, routes }).routes, [
    { dst: "10.20.0.0/16", gw: "10.20.93.1" },
    { dst: "fd00::/48", gw: "fd00::1" },
    { dst: "::/0", gw: "fd00::2" },
  ]);
  assertEquals(withGateways({ ips: [], routes }).routes, routes);
});

Deno.test("reportedError() reads an error object, and nothing else", () => {
  const error = reportedError('{"cniVersion":"1.0.0","code":7,"msg":"bad","details":"x"}')!;
  assertEquals([error.code, error.message, error.details], [7, "bad", "x"]);
  for (const text of ["", "panic: x", "null", "[]", "{}", '{"code":0,"msg":""}']) {
    assertEquals(reportedError(text), undefined, text);
  }
});
