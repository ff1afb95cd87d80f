import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { parseIPv4, Prefix } from "../../ip/mod.ts";
import { isInterfaceName } from "../call.ts";
import { CniError } from "../errors.ts";
import type { JsonObject } from "../json.ts";
import { encodeStatus, readAttachment, readContainer } from "./container.ts";

const ID = "752947ff91f961eb3cb47ffe9315016979f3ffbec09e4d96a4fae3fb03391697";

/** The input of `podman run -p 8080:80 --ip 10.20.93.50 --mac-address aa:bb:cc:dd:aa:00`, by netavark 1.14. */
const INPUT: JsonObject = {
  container_name: "web",
  container_id: ID,
  port_mappings: [
    { host_ip: "", container_port: 80, host_port: 8080, range: 1, protocol: "tcp" },
  ],
  network: { name: "net", driver: "flannel", options: null },
  network_options: {
    aliases: ["752947ff91f9"],
    interface_name: "eth0",
    static_ips: ["10.20.93.50"],
    static_mac: "aa:bb:cc:dd:aa:00",
    options: null,
  },
};

const withOptions = (more: JsonObject): JsonObject => ({
  ...INPUT,
  network_options: { interface_name: "eth0", ...more },
});

Deno.test("readContainer() reads the container, its addresses and its ports", () => {
  assertEquals(readContainer(INPUT), {
    request: {
      ...{ containerID: ID, ifname: "eth0" },
      ...{ address: parseIPv4("10.20.93.50")!, mac: "aa:bb:cc:dd:aa:00" },
    },
    network: { name: "net", driver: "flannel", options: null },
    ports: ["8080:80/tcp"],
  });
});

Deno.test("readContainer() takes null for what the operator did not choose", () => {
  for (const nothing of [null, undefined]) {
    const chosen = nothing === null ? { static_ips: null, static_mac: null } : {};
    const { port_mappings: _, ...input } = withOptions(chosen);
    const { request, ports } = readContainer(input);
    assertEquals([request, ports], [{ containerID: ID, ifname: "eth0" }, []]);
  }
});

Deno.test("readContainer() takes an address that is listed twice", () => {
  const { request } = readContainer(withOptions({ static_ips: ["10.20.93.5", "10.20.93.5"] }));
  assertEquals(request.address, parseIPv4("10.20.93.5"));
});

Deno.test("readContainer() refuses an address that is none, and teardown does not read it", () => {
  for (const list of [["fd00::2"], ["10.20.93.2", "10.20.93.3"], [5]]) {
    const input = withOptions({ static_ips: list });
    assertThrows(() => readContainer(input), CniError, "invalid address");
    assertEquals(readAttachment(input), { containerID: ID, ifname: "eth0" });
  }
  const input = withOptions({ static_mac: "aa:bb" });
  assertThrows(() => readContainer(input), CniError, 'invalid static_mac: "aa:bb"');
});

Deno.test("readContainer() reads any JSON or throws a CniError", () => {
  const value = fc.oneof(
    fc.jsonValue(),
    fc.constantFrom("eth0", ID, "10.20.93.5", ["10.20.93.5"], "02:00:00:00:00:01"),
    fc.dictionary(fc.constantFrom("interface_name", "static_ips", "static_mac"), fc.jsonValue()),
  );
  fc.assert(fc.property(fc.dictionary(fc.constantFrom(...Object.keys(INPUT)), value), (more) => {
    try {
      const { request } = readContainer({ ...INPUT, ...more } as JsonObject);
      assert(isInterfaceName(request.ifname) && /^[\w.-]+$/.test(request.containerID));
    } catch (error) {
      if (!(error instanceof CniError)) throw error;
    }
  }));
});

Deno.test("encodeStatus() encodes netavark's status block", () => {
  const status = encodeStatus({
    bridge: { name: "cni0", mac: "0a:58:0a:14:5d:01" },
    hostEnd: { name: "veth1", mac: "02:00:00:00:00:01" },
    container: { name: "eth0", mac: "0a:58:0a:14:5d:02", sandbox: "/run/netns/c1" },
    mtu: 1450,
    address: parseIPv4("10.20.93.2")!,
    prefixLength: 24,
    gateway: parseIPv4("10.20.93.1")!,
    networks: [Prefix.parse("10.20.0.0/16")!],
    isDefaultGateway: true,
  });
  assertEquals(JSON.parse(status), {
    dns_server_ips: [],
    dns_search_domains: [],
    interfaces: {
      eth0: {
        mac_address: "0a:58:0a:14:5d:02",
        subnets: [{ ipnet: "10.20.93.2/24", gateway: "10.20.93.1" }],
      },
    },
  });
});
