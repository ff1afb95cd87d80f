import { assertEquals, assertRejects } from "@std/assert";
import { ip, net } from "../../store/testing/store_lab.ts";
import {
  type HostNeeds,
  networkRefusal,
  NetworkRefusedError,
  requireUsableNetwork,
} from "./usable_network.ts";

const NEEDS: HostNeeds = {
  external: { name: "eth1" },
  needed: [
    { address: ip("172.28.128.101"), what: "this host's address on eth1" },
    { address: ip("10.0.2.2"), what: "this host's default gateway" },
    { address: ip("192.168.7.9"), what: "the address of store endpoint etcd.example" },
  ],
  underlay: [net("172.28.128.0/24")],
  allowed: [net("198.18.0.0/15")],
};

Deno.test("networkRefusal() names the address of the host that a Network contains", () => {
  const instead = "choose a Network that no host, gateway or server is in";
  const cases = [
    ["172.28.0.0/16", "contains 172.28.128.101, this host's address on eth1; " + instead],
    ["10.0.0.0/8", "contains 10.0.2.2, this host's default gateway; " + instead],
    [
      "192.168.0.0/16",
      "contains 192.168.7.9, the address of store endpoint etcd.example; " + instead,
    ],
    ["172.28.128.128/25", "overlaps 172.28.128.0/24, the network of eth1; " + instead],
    [
      "8.0.0.0/8",
      "is no private range (RFC 1918, RFC 6598): choose one, or start the agent with " +
      "-allowed-networks=8.0.0.0/8 where these addresses are yours",
    ],
    [
      "198.16.0.0/12",
      "is no private range (RFC 1918, RFC 6598): choose one, or start the agent with " +
      "-allowed-networks=198.16.0.0/12 where these addresses are yours",
    ],
  ] as const;
  for (const [network, reason] of cases) {
    assertEquals(networkRefusal(net(network), NEEDS), `Network ${network} ${reason}`);
  }
  for (const network of ["10.20.0.0/16", "100.64.0.0/10", "198.18.0.0/16", "172.29.0.0/16"]) {
    assertEquals(networkRefusal(net(network), NEEDS), undefined, network);
  }
});

Deno.test("requireUsableNetwork() finds the store's endpoints by address and by name", async () => {
  const address = ip("172.28.128.101");
  const check = (network: string, endpoints: string[]) =>
    requireUsableNetwork(net(network), {
      store: { kind: "etcd", endpoints, prefix: "/flannel/network", api: "v3" },
      allowedNetworks: [],
      external: { name: "eth1", index: 2, mtu: 1500, address, publicIP: address },
      tables: { links: [], addresses: [], routes: [] },
    });
  await check("10.77.0.0/16", ["http://127.0.0.1:2379", "http://localhost:2379", "http://[::1]:1"]);
  // No such name (RFC 6761): the store's own code reports the failed look-up.
  await check("10.77.0.0/16", ["http://nowhere.invalid:2379"]);
  const error = await assertRejects(
    () => check("10.77.0.0/16", ["http://127.0.0.1:2379", "https://10.77.1.2:2379"]),
    NetworkRefusedError,
  );
  assertEquals(
    error.message,
    "Network 10.77.0.0/16 contains 10.77.1.2, the address of a store endpoint; choose a Network that " +
      "no host, gateway or server is in",
  );
});
