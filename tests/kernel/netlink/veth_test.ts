// Bridges and veth pairs, created by netlink and read by iproute2.

import { assertEquals } from "@std/assert";
import { BRIDGE, libc, Netlink, VETH, withNamespaceDescriptor } from "../../../mod/sys/mod.ts";
import { NetworkNamespace } from "../../lab/netns.ts";

libc();

Deno.test("Netlink.createLink() makes a port of a bridge whose other end is in another namespace", async () => {
  await using host = await NetworkNamespace.create();
  await using container = await NetworkNamespace.create();
  using netlink = Netlink.open({ netns: host.path });
  const bridge = netlink.createLink({
    ...{ name: "cni0", mtu: 1450, mac: "0a:58:0a:14:05:01", kind: BRIDGE, attributes: {} },
  });
  const veth = withNamespaceDescriptor(container.path, (peerNamespace) =>
    netlink.createLink({
      ...{ name: "veth1", mtu: 1450, master: bridge.index, kind: VETH },
      attributes: {
        ...{ peerName: "eth0", peerMtu: 1450, peerMac: "0a:58:0a:14:05:02", peerNamespace },
      },
    }));
  netlink.setLink(veth.index, { up: true, hairpin: true });
  const [port] = JSON.parse(await host.ip("-j", "-d", "link", "show", "veth1"));
  assertEquals([port.master, port.mtu, port.linkinfo.info_kind], ["cni0", 1450, "veth"]);
  assertEquals(port.linkinfo.info_slave_data.hairpin, true);
  const [eth0] = JSON.parse(await container.ip("-j", "link", "show", "eth0"));
  assertEquals([eth0.mtu, eth0.address], [1450, "0a:58:0a:14:05:02"]);
  assertEquals(netlink.link("veth1")?.master, bridge.index);
  netlink.setLink(veth.index, { hairpin: false });
  const [plain] = JSON.parse(await host.ip("-j", "-d", "link", "show", "veth1"));
  assertEquals(plain.linkinfo.info_slave_data.hairpin, false);
  netlink.setLink(bridge.index, { alias: "network 5" });
  const [described] = JSON.parse(await host.ip("-j", "link", "show", "cni0"));
  assertEquals([described.ifalias, netlink.link("cni0")?.alias], ["network 5", "network 5"]);
});
