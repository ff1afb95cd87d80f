import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { Prefix } from "../../ip/mod.ts";
import { CniError } from "../errors.ts";
import type { JsonObject } from "../json.ts";
import { createNetwork, readOptions } from "./network.ts";

const SUBNET = Prefix.parse("10.20.93.0/24")!;

/** The input of `podman network create -d flannel net`, by Podman 5.4. */
const NETWORK: JsonObject = {
  name: "net",
  id: "2f259bab93aaaaa2542ba43ef33eb990d0999ee1b9924b557b7be53c0b7a1bb9",
  driver: "flannel",
  created: "0001-01-01T00:00:00Z",
  ipv6_enabled: false,
  internal: false,
  dns_enabled: true,
};

Deno.test("createNetwork() gives a network the host's subnet, and leaves addresses to the plugin", () => {
  assertEquals(createNetwork(NETWORK, SUBNET), {
    ...NETWORK,
    network_interface: "cni0",
    subnets: [{ subnet: "10.20.93.0/24", gateway: "10.20.93.1" }],
    dns_enabled: false,
    ipam_options: { driver: "none" },
  });
});

Deno.test("createNetwork() names the option that the driver does not take", () => {
  const cases: readonly (readonly [JsonObject, string])[] = [
    [{ subnets: [{ subnet: "10.20.93.0/24" }] }, "--subnet"],
    [{ routes: [{ destination: "10.0.0.0/8", gateway: "10.20.93.1" }] }, "--route"],
    [{ network_interface: "br0" }, "--interface-name"],
    [{ ipv6_enabled: true }, "--ipv6"],
    [{ internal: true }, "--internal"],
    [{ ipam_options: { driver: "host-local" } }, "--ipam-driver"],
  ];
  for (const [members, option] of cases) {
    const create = () => createNetwork({ ...NETWORK, ...members }, SUBNET);
    assertThrows(create, CniError, `flannel networks do not take ${option}`);
  }
  const nothing = { subnets: null, routes: [], network_interface: "", ipam_options: {} };
  createNetwork({ ...NETWORK, ...nothing }, SUBNET);
});

Deno.test("readOptions() reads the options, and names the one that is unknown or invalid", () => {
  const { subnetFile, builtin } = readOptions(NETWORK);
  assertEquals(
    [subnetFile, builtin.bridge, builtin.mtu, builtin.isDefaultGateway, builtin.leaseDir],
    ["/run/flannel/subnet.env", "cni0", undefined, true, "/run/flannel/cni"],
  );
  const options = { mtu: "1400", no_default_route: "true", subnetFile: "/run/flannel/blue.env" };
  const read = readOptions({ options });
  assertEquals(
    [read.subnetFile, read.builtin.mtu, read.builtin.isDefaultGateway],
    ["/run/flannel/blue.env", 1400, false],
  );
  const cases: readonly (readonly [JsonObject, string])[] = [
    [{ color: "red" }, 'unknown option "color"'],
    [{ mtu: "67" }, 'invalid option mtu: "67"'],
    [{ mtu: "1e3" }, 'invalid option mtu: "1e3"'],
    [{ no_default_route: "1" }, 'invalid option no_default_route: "1"'],
    [{ subnetFile: "subnet.env" }, 'invalid option subnetFile: "subnet.env"'],
  ];
  for (const [options, message] of cases) {
    assertThrows(() => readOptions({ options }), CniError, message);
  }
});

Deno.test("createNetwork() completes any network or throws a CniError, and keeps what the driver must not change", () => {
  const members = ["subnets", "routes", "network_interface", "ipv6_enabled", "ipam_options"];
  const network = fc.dictionary(fc.constantFrom(...members, "options", "id"), fc.jsonValue());
  fc.assert(fc.property(network, (more) => {
    const input = { ...NETWORK, ...more } as JsonObject;
    let created: JsonObject;
    try {
      created = createNetwork(input, SUBNET);
    } catch (error) {
      if (error instanceof CniError) return;
      throw error;
    }
    for (const member of ["name", "id", "driver"]) assertEquals(created[member], input[member]);
    assertEquals(readOptions(created), readOptions(input));
  }));
});
