import { assertEquals } from "@std/assert";
import { Prefix } from "../ip/mod.ts";
import { findStaleRoute } from "./stale_route.ts";

// Captured from a kernel 6.18 after
//   ip route add 10.1.74.0/24 via 192.168.9.2; ip route add 10.1.75.0/24 dev v0
//   ip route add 10.1.0.0/16 via 192.168.9.3; ip route add default via 192.168.9.1
const TABLE =
  `Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT                                                       
v0	00000000	0109A8C0	0003	0	0	0	00000000	0	0	0                                                                                 
v0	0000010A	0309A8C0	0003	0	0	0	0000FFFF	0	0	0                                                                                 
v0	004A010A	0209A8C0	0003	0	0	0	00FFFFFF	0	0	0                                                                                 
v0	004B010A	00000000	0001	0	0	0	00FFFFFF	0	0	0                                                                                 
v0	0009A8C0	00000000	0001	0	0	0	00FFFFFF	0	0	0                                                                                 
`;
const find = (subnet: string) => findStaleRoute(TABLE, Prefix.parse(subnet)!);

Deno.test("findStaleRoute() finds the route to the subnet by way of another host", () => {
  assertEquals(find("10.1.74.1/24"), "10.1.74.0/24 via 192.168.9.2 dev v0");
  assertEquals(find("10.1.0.1/16"), "10.1.0.0/16 via 192.168.9.3 dev v0");
  assertEquals(find("0.0.0.0/0"), "0.0.0.0/0 via 192.168.9.1 dev v0");
});

Deno.test("findStaleRoute() leaves routes over a device, and to other prefixes, alone", () => {
  assertEquals(find("10.1.75.1/24"), undefined);
  assertEquals(find("192.168.9.1/24"), undefined);
  assertEquals(find("10.1.74.1/25"), undefined);
  assertEquals(find("10.1.76.1/24"), undefined);
});

Deno.test("findStaleRoute() reads the kernel's own table", async () => {
  const table = await Deno.readTextFile("/proc/net/route");
  assertEquals(findStaleRoute(table, Prefix.parse("192.0.2.1/30")!), undefined); // RFC 5737
});
