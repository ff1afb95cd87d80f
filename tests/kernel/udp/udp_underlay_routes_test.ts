/** The interfaces by which packets to peers leave, by real routing tables. */
import { assertEquals } from "@std/assert";
import { UnderlayRoutes } from "../../../backends/udp/kernel/underlay_routes.ts";
import { formatIPv4, type IPv4, parseIPv4 } from "../../../mod/ip/mod.ts";
import { libc, Netlink, SysError } from "../../../mod/sys/mod.ts";
import { NetworkNamespace } from "../../lab/netns.ts";

libc();

const ip = (text: string) => parseIPv4(text)!;

/** Tables, rules and kinds of routes, each of which applies to some addresses of another. */
const TABLES = `
link add eth1 type veth peer name eth1p
link add eth2 type veth peer name eth2p
link set eth1 up
link set eth1p up
link set eth2 up
link set eth2p up
address add 172.28.128.100/24 dev eth1
address add 172.29.0.100/16 dev eth2
route add default via 172.28.128.1 dev eth1
route add 172.28.129.0/24 via 172.29.0.1 dev eth2
route add 172.28.129.7/32 via 172.28.128.1 dev eth1
route add 172.28.130.0/24 nexthop via 172.28.128.1 dev eth1 nexthop via 172.29.0.1 dev eth2
route add 172.28.130.128/25 via 172.29.0.1 dev eth2
route add blackhole 172.28.131.0/24
route add throw 172.28.132.0/25
route add 172.28.132.0/24 via 172.29.0.1 dev eth2 metric 7
route add 172.28.133.0/24 via 172.29.0.1 dev eth2 table 77
rule add to 172.28.133.64/26 table 77
rule add to 172.28.134.0/28 table 77
route add 172.28.134.0/24 via 172.29.0.1 dev eth2 table 77
nexthop add id 1 via 172.28.128.1 dev eth1
nexthop add id 2 via 172.29.0.1 dev eth2
nexthop add id 3 group 1/2
route add 172.28.135.0/24 nhid 3
route add 172.28.136.0/24 nhid 2
`;

async function makeNamespace(): Promise<NetworkNamespace> {
  const namespace = await NetworkNamespace.create();
  for (const line of TABLES.trim().split("\n")) await namespace.ip(...line.split(" "));
  return namespace;
}

function kernelsAnswer(netlink: Netlink, address: IPv4): number {
  try {
    return netlink.routeTo(address).oif;
  } catch (error) {
    if (!(error instanceof SysError)) throw error;
    return 0;
  }
}

Deno.test("UnderlayRoutes agrees with the kernel for tables, rules and all kinds of routes", async () => {
  await using namespace = await makeNamespace();
  using netlink = Netlink.open({ netns: namespace.path });
  const routes = new UnderlayRoutes(netlink);
  const wrong: string[] = [];
  const seen = new Set<number>();
  for (let address = ip("172.28.127.0"); address < ip("172.28.138.0"); address++) {
    const [actual, expected] = [routes.interfaceTo(address), kernelsAnswer(netlink, address)];
    seen.add(expected);
    if (actual !== expected) wrong.push(`${formatIPv4(address)}: ${actual} for ${expected}`);
  }
  assertEquals(wrong, []);
  assertEquals(seen.size, 4, "both interfaces, loopback, and none");
});

Deno.test("UnderlayRoutes asks the kernel once about peers that no route distinguishes", async () => {
  await using namespace = await makeNamespace();
  using netlink = Netlink.open({ netns: namespace.path });
  let questions = 0;
  const counting = new Proxy(netlink, {
    get(target, name) {
      if (name === "routeTo") questions++;
      const member = Reflect.get(target, name, target);
      return typeof member === "function" ? member.bind(target) : member;
    },
  });
  const routes = new UnderlayRoutes(counting);
  for (let i = 0; i < 65_536; i++) routes.interfaceTo(ip("10.0.0.0") + i);
  assertEquals(questions, 51);
});
