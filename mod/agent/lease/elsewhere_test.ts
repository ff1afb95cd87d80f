import { assertEquals } from "@std/assert";
import { parseIPv4, Prefix } from "../../ip/mod.ts";
import type { Lease } from "../../lease/mod.ts";
import { leaseElsewhere } from "./elsewhere.ts";

const ip = (text: string) => parseIPv4(text)!;

function lease(subnet: string, publicIP: string): Lease {
  return {
    ...{ subnet: Prefix.parse(subnet), attributes: { publicIP: ip(publicIP) } },
    ...{ revision: "1", ttl: 86400 },
  } as Lease;
}

const NAMES: Record<number, string> = { 1: "lo", 2: "eth0", 3: "eth1" };
const NETLINK = {
  addresses: () =>
    [[1, "127.0.0.1"], [2, "10.0.2.15"], [3, "172.28.128.100"], [2, "10.0.2.16"]]
      .map(([index, address]) => ({ index, address: ip(String(address)) })),
  linkByIndex: (index: number) => ({ name: NAMES[index] }),
} as unknown as Parameters<typeof leaseElsewhere>[2];
const ETH0 = { name: "eth0", address: ip("10.0.2.15"), publicIP: ip("10.0.2.15") };
const PEER = lease("10.20.9.0/24", "172.28.128.101");

Deno.test("leaseElsewhere() names the interface that has this host's lease", () => {
  const own = lease("10.20.5.0/24", "172.28.128.100");
  const found = leaseElsewhere([PEER, own], ETH0, NETLINK, own.subnet);
  assertEquals(found?.flag, "-iface=eth1");
  assertEquals(
    found?.message,
    "this host's lease 10.20.5.0/24 belongs to eth1 (172.28.128.100), but this command chose " +
      "eth0 (10.0.2.15): pass the agent's -iface, -iface=eth1",
  );
});

Deno.test("leaseElsewhere() names the address where one interface has both", () => {
  const own = lease("10.20.5.0/24", "10.0.2.16");
  assertEquals(leaseElsewhere([own], ETH0, NETLINK, own.subnet)?.flag, "-iface=10.0.2.16");
});

Deno.test("leaseElsewhere() does not go by the address of a lease alone", () => {
  const nat = lease("10.20.5.0/24", "10.0.2.15");
  const eth1 = { name: "eth1", address: ip("172.28.128.100"), publicIP: ip("172.28.128.100") };
  assertEquals(leaseElsewhere([nat], eth1, NETLINK, undefined), undefined);
  assertEquals(leaseElsewhere([nat], eth1, NETLINK, Prefix.parse("10.20.8.0/24")), undefined);
});

Deno.test("leaseElsewhere() returns undefined when the chosen interface, or another host, has the lease", () => {
  const [own, former] = [
    lease("10.20.7.0/24", "10.0.2.15"),
    lease("10.20.5.0/24", "172.28.128.100"),
  ];
  assertEquals(leaseElsewhere([own, former], ETH0, NETLINK, former.subnet), undefined);
  assertEquals(leaseElsewhere([PEER], ETH0, NETLINK, PEER.subnet), undefined);
});
