import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { Prefix } from "../mod/ip/mod.ts";
import { net } from "../mod/store/testing/store_lab.ts";
import { metricOf } from "./route_metric.ts";

const GUIDE = { network: net("10.20.0.0/16"), subnetLen: 24 };

Deno.test("metricOf() is 0 in the guide's network and grows with every 256 subnets", () => {
  for (const subnet of ["10.20.1.0/24", "10.20.255.0/24"]) {
    assertEquals(metricOf(net(subnet), GUIDE), 0);
  }
  const large = { network: net("10.0.0.0/8"), subnetLen: 24 };
  const metrics = ["10.0.255.0/24", "10.1.0.0/24", "10.1.255.0/24", "10.255.255.0/24"];
  assertEquals(metrics.map((subnet) => metricOf(net(subnet), large)), [0, 1, 1, 255]);
});

Deno.test("metricOf() is a 32-bit number that at most 256 subnets share", () => {
  const cases = fc.tuple(fc.nat(0xffffffff), fc.integer({ min: 0, max: 28 }), fc.nat(0xffffffff))
    .chain(([address, length, host]) =>
      fc.integer({ min: length + 2, max: 30 }).map((subnetLen) => {
        const network = new Prefix(address, length);
        const subnet = new Prefix(network.address + host % network.size, subnetLen);
        return { network, subnetLen, subnet };
      })
    );
  fc.assert(fc.property(cases, ({ network, subnetLen, subnet }) => {
    const metric = metricOf(subnet, { network, subnetLen });
    assert(Number.isInteger(metric) && metric >= 0 && metric < 2 ** 32, String(metric));
    const further = subnet.address + 256 * subnet.size;
    if (further > network.last) return;
    assertEquals(metricOf(new Prefix(further, subnetLen), { network, subnetLen }), metric + 1);
  }));
});
