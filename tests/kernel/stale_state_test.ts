import { assertEquals } from "@std/assert";
import { findStaleState } from "../../backends/stale_state.ts";
import { net } from "../../mod/store/testing/store_lab.ts";
import { libc, Netlink } from "../../mod/sys/mod.ts";
import { Namespace } from "./firewall/firewall_namespace.ts";

libc();

const NETWORK = net("10.20.0.0/16");

/** Stale state of two networks, and objects of others that look alike. */
const OBJECTS = [
  "link add eth1 type veth peer name far1",
  "link set eth1 up",
  "link set far1 up",
  "address add 172.28.128.100/24 dev eth1",
  "link add flannel.1 type vxlan id 1 dev eth1 dstport 8472",
  "address add 10.20.93.0/32 dev flannel.1",
  "link set flannel.1 up",
  "route add 10.20.7.0/24 via 10.20.7.0 dev flannel.1 onlink proto 102",
  "tuntap add dev flannel0 mode tun",
  "link set flannel0 up",
  "route add 10.20.0.0/16 dev flannel0 proto 102 metric 5",
  "route add 10.20.65.0/24 via 172.28.128.102 dev eth1 proto 102 metric 3",
  // For another network.
  "link add flannel.2 type vxlan id 2 dev eth1 dstport 8473",
  "address add 10.30.1.0/32 dev flannel.2",
  "link set flannel.2 up",
  "route add 10.30.2.0/24 dev flannel.2 proto 102",
  "route add 10.30.65.0/24 via 172.28.128.102 dev eth1 proto 102",
  // Of others.
  "link add flannel.3 type vxlan id 33 dev eth1 dstport 8474",
  "address add 10.20.3.0/32 dev flannel.3",
  "link add flannel.4 type bridge",
  "address add 10.20.4.0/32 dev flannel.4",
  "tuntap add dev flannel1 mode tun",
  "route add 10.20.66.0/24 via 172.28.128.102 dev eth1",
  "route add 10.20.67.0/24 via 172.28.128.102 dev eth1 proto 102 table 77",
];

async function withObjects(
  body: (netlink: Netlink, host: Namespace) => Promise<void>,
): Promise<void> {
  await using host = await Namespace.make();
  for (const command of OBJECTS) await host.run("ip", ...command.split(" "));
  using netlink = Netlink.open({ netns: `/run/netns/${host.name}` });
  await body(netlink, host);
}

Deno.test("findStaleState() finds devices and routes of one network and removes them", () =>
  withObjects(async (netlink, host) => {
    const found = await findStaleState(netlink, [NETWORK]);
    assertEquals(found.map(({ what }) => what).sort(), [
      "device flannel.1",
      "device flannel0",
      "route 10.20.65.0/24 via 172.28.128.102 dev eth1 proto 102 metric 3",
    ]);
    for (const one of found) one.remove();
    assertEquals(await findStaleState(netlink, [NETWORK]), []);
    for (const one of found) one.remove();

    const routes = await host.run("ip", "-4", "route", "show", "table", "all");
    for (const kept of ["10.20.66.0/24", "10.20.67.0/24", "10.30.65.0/24", "10.30.2.0/24"]) {
      assertEquals(routes.includes(kept), true, kept);
    }
    const links = netlink.links().map(({ name }) => name);
    assertEquals(links.filter((name) => name.startsWith("flannel")).sort(), [
      ...["flannel.2", "flannel.3", "flannel.4", "flannel1"],
    ]);
  }));

Deno.test("findStaleState() finds a device that carries nothing", () =>
  withObjects(async (netlink, host) => {
    await host.run("ip", "address", "flush", "dev", "flannel.1");
    await host.run("ip", "route", "flush", "dev", "flannel.1");
    const found = (await findStaleState(netlink, [NETWORK])).map(({ what }) => what);
    assertEquals(found.includes("device flannel.1"), true);
  }));

Deno.test("findStaleState() finds the agent's own device, whatever is on it", () =>
  withObjects(async (netlink) => {
    const found = await findStaleState(netlink, [net("10.50.0.0/16")], {
      besideOthers: true,
      own: "flannel.2",
    });
    assertEquals(found.map(({ what }) => what), ["device flannel.2"]);
  }));

Deno.test("findStaleState() goes by flanneld's protocol number where no network is known", () =>
  withObjects(async (netlink, host) => {
    await host.run("ip", "route", "flush", "dev", "flannel.1");
    assertEquals((await findStaleState(netlink, [])).map(({ what }) => what).sort(), [
      "device flannel.2",
      "device flannel0",
      "route 10.20.65.0/24 via 172.28.128.102 dev eth1 proto 102 metric 3",
      "route 10.30.65.0/24 via 172.28.128.102 dev eth1 proto 102",
    ]);
  }));
