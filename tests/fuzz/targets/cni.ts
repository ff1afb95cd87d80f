/** Input of the CNI and netavark plugins: networks and containers of a runtime, subnet files, and their own leases. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  decodeLeases,
  encodeLeases,
  findLease,
  leaseAddress,
} from "../../../mod/cni/builtin/address_leases.ts";
import { parseInput, readConfig } from "../../../mod/cni/config.ts";
import { delegateConfig } from "../../../mod/cni/delegate/delegate_config.ts";
import { CniError } from "../../../mod/cni/errors.ts";
import { encodeSorted } from "../../../mod/cni/json.ts";
import { readContainer } from "../../../mod/cni/netavark/container.ts";
import { createNetwork } from "../../../mod/cni/netavark/network.ts";
import { parseSubnetFile } from "../../../mod/cni/subnet_file.ts";
import { COMMANDS } from "../../../mod/cni/version.ts";
import { Prefix } from "../../../mod/ip/mod.ts";
import { jsonNear, textNear } from "../mutate.ts";
import { type FuzzTarget, refusing } from "../target.ts";

const CONFIGS = [
  '{"cniVersion":"1.0.0","name":"cbr0","type":"flannel","delegate":{"isDefaultGateway":true,"type":"bridge"},"ipam":{"routes":[{"dst":"0.0.0.0/0"}]},"runtimeConfig":{"portMappings":[]}}',
  '{"cniVersion":"1.1.0","name":"cbr0","type":"flannel","builtin":{"bridge":"cni0","mtu":1400,"hairpinMode":true,"isDefaultGateway":false,"leaseDir":"/run/x"},"dns":{}}',
  '{"cniVersion":"1.1.0","name":"cbr0","type":"flannel","cni.dev/valid-attachments":[{"containerID":"c1","ifname":"eth0"}],"prevResult":{"ips":[]}}',
];

const SUBNET = parseSubnetFile(
  "f",
  "FLANNEL_NETWORK=10.20.0.0/16\nFLANNEL_SUBNET=10.20.93.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n",
);

export const cniConfig: FuzzTarget<{ readonly command: number; readonly text: string }> = {
  name: "cni_config",
  seeds: CONFIGS.map((text, command) => ({ command, text })),
  inputs: fc.record({
    command: fc.nat(COMMANDS.length - 1),
    text: jsonNear(CONFIGS, ["delegate", "ipam", "builtin", "type", "routes", "subnetFile"]),
  }),
  start: () => ({ command, text }) => {
    const config = refusing([CniError], () => readConfig(parseInput(text), COMMANDS[command]!));
    if (config === undefined) return;
    assert(/^[\w][\w.-]*$/.test(config.name) && config.dataDir.startsWith("/"));
    const generated = refusing([CniError], () => delegateConfig(config, SUBNET));
    if (generated === undefined) return;
    assert(!String(generated.type).includes("/"));
    assertEquals(encodeSorted(JSON.parse(encodeSorted(generated))), encodeSorted(generated));
  },
};

const SUBNET_FILES = [
  "FLANNEL_NETWORK=10.20.0.0/16,10.30.0.0/16\nFLANNEL_SUBNET=10.20.93.1/24\nFLANNEL_IPV6_NETWORK=fd00:42::/48\n" +
  "FLANNEL_IPV6_SUBNET=fd00:42:0:1::1/64\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n",
];

export const cniSubnetFile: FuzzTarget<string> = {
  name: "cni_subnet_file",
  seeds: SUBNET_FILES,
  inputs: textNear(SUBNET_FILES, ["FLANNEL_SUBNET=", "::/0", "/128", "::ffff:1.2.3.4/96"]),
  start: () => (text) => {
    const file = refusing([CniError], () => parseSubnetFile("f", text));
    if (file === undefined) return;
    const again = parseSubnetFile(
      "f",
      [
        `FLANNEL_NETWORK=${file.networks.filter((network) => !network.includes(":"))}`,
        `FLANNEL_IPV6_NETWORK=${file.networks.filter((network) => network.includes(":"))}`,
        `FLANNEL_SUBNET=${file.subnets.filter((subnet) => !subnet.includes(":"))}`,
        `FLANNEL_IPV6_SUBNET=${file.subnets.filter((subnet) => subnet.includes(":"))}`,
        `FLANNEL_MTU=${file.mtu}\nFLANNEL_IPMASQ=${file.ipMasq}\n`,
      ].join("\n"),
    );
    assertEquals(again, file);
  },
};

const LEASES = [
  '{"version":1,"last":"10.20.93.2","leases":[{"address":"10.20.93.2","containerID":"c1","ifname":"eth0","hostEnd":"veth1"}]}',
  '{"version":1,"leases":[]}',
];

export const cniLeases: FuzzTarget<string> = {
  name: "cni_leases",
  seeds: LEASES,
  inputs: jsonNear(LEASES, ["version", "last", "leases", "address", "hostEnd"]),
  start: () => (text) => {
    const leases = refusing([CniError], () => decodeLeases("f", text));
    if (leases === undefined) return;
    assertEquals(decodeLeases("f", encodeLeases(leases)), leases);
    const own = { containerID: "fuzz", ifname: "eth0", hostEnd: "veth9" };
    const leased = leaseAddress(leases, new Prefix(0x0a145d00, 24), own);
    if (leased === undefined || findLease(leases, own) !== undefined) return;
    assertEquals(findLease(leased.leases, own), leased.lease);
    assert(leases.leases.every(({ address }) => address !== leased.lease.address));
  },
};

const NETAVARK = [
  '{"name":"net","id":"2f259bab","driver":"flannel","options":{"mtu":"1400","no_default_route":"true","subnetFile":"/run/x"},"ipv6_enabled":false,"dns_enabled":true}',
  '{"container_id":"c1","port_mappings":[{"host_port":8080,"container_port":80,"protocol":"tcp"}],"network":{"options":{}},"network_options":{"interface_name":"eth0","static_ips":["10.20.93.5"],"static_mac":"02:00:00:00:00:01"}}',
];

export const netavark: FuzzTarget<string> = {
  name: "netavark",
  seeds: NETAVARK,
  inputs: jsonNear(NETAVARK, ["options", "network", "network_options", "subnets", "static_ips"]),
  start: () => (text) => {
    const input = refusing([CniError], () => parseInput(text));
    if (input === undefined) return;
    const created = refusing([CniError], () => createNetwork(input, SUBNET.ipv4!));
    if (created !== undefined) assertEquals(created.id, input.id);
    const container = refusing([CniError], () => readContainer(input));
    if (container === undefined) return;
    const { containerID, ifname } = container.request;
    assert(!containerID.includes("/") && !ifname.includes("/"));
  },
};
