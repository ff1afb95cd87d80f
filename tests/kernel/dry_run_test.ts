import { assertEquals } from "@std/assert";
import { describeChange } from "../../backends/describe.ts";
import { ip, net } from "../../mod/store/testing/store_lab.ts";
import { DryRunNetlink, libc, Netlink, type Operation, VXLAN } from "../../mod/sys/mod.ts";
import { Namespace } from "./firewall/firewall_namespace.ts";
import { IFF_UP } from "../../mod/sys/linux_constants.ts";

libc();

const SETUP = [
  "link add eth1 type veth peer name far1",
  "link set eth1 up",
  "link set far1 up",
  "address add 172.28.128.100/24 dev eth1",
  "link add flannel.1 type vxlan id 1 dev eth1 local 172.28.128.100 dstport 8472 nolearning",
  "link set flannel.1 address 02:00:00:00:00:01 up",
  "address add 10.20.93.0/32 dev flannel.1",
  "neighbour add 10.20.7.0 lladdr 02:00:00:00:00:07 dev flannel.1 nud permanent",
  "route add 10.20.7.0/24 via 10.20.7.0 dev flannel.1 onlink proto 102",
];

Deno.test("DryRunNetlink records the object that each change would replace, and does not change the kernel", async () => {
  await using host = await Namespace.make();
  for (const command of SETUP) await host.run("ip", ...command.split(" "));
  const netns = `/run/netns/${host.name}`;
  using real = Netlink.open({ netns });
  using netlink = DryRunNetlink.open({ netns });
  const state = () => [
    ...[real.links(), real.addresses(), real.routes(), real.neighbours()],
    real.fdb({ index: real.link("flannel.1")!.index }),
  ];
  const before = state();

  const { index, mac, mtu, flags } = netlink.link("flannel.1")!;
  netlink.setLink(index, { mtu, up: (flags & IFF_UP) !== 0, mac });
  assertEquals(netlink.changes, []);
  netlink.setLink(index, { mtu: 1400 });
  const fdb = { index, mac: "02:00:00:00:00:07", destination: ip("172.28.128.101"), state: 0x80 };
  const route = {
    ...{ destination: net("10.20.7.0/24"), gateway: ip("172.28.128.101"), onlink: false },
    ...{ oif: real.link("eth1")!.index, protocol: 102, scope: 0, table: 254, metric: 0 },
  };
  const address = { index, address: ip("10.20.93.0"), prefixLength: 32, scope: 0, flags: 0x80 };
  const operations: Operation[] = [
    { op: "replace", kind: "neighbour", object: { ...fdb, address: ip("10.20.7.0"), mac: mac! } },
    { op: "replace", kind: "fdb", object: fdb },
    { op: "replace", kind: "route", object: route },
    { op: "delete", kind: "address", object: address },
    { op: "delete", kind: "address", object: { ...address, address: ip("10.20.9.0") } },
  ];
  netlink.execute(operations);
  assertEquals(netlink.transmitChecksumOffload("flannel.1"), true);
  netlink.setTransmitChecksumOffload("flannel.1", true);
  netlink.setTransmitChecksumOffload("flannel.1", false);
  assertEquals(netlink.transmitChecksumOffload("flannel.1"), false);
  netlink.setTransmitChecksumOffload("flannel.1", false);
  assertEquals(
    netlink.changes.flatMap((change) => describeChange(change, (index) => netlink.nameOf(index)))
      .map(({ sign, text }) => `${sign} ${text}`),
    [
      `- device flannel.1 address 02:00:00:00:00:01 mtu ${mtu} up`,
      "+ device flannel.1 address 02:00:00:00:00:01 mtu 1400 up",
      "- neighbour 10.20.7.0 lladdr 02:00:00:00:00:07 dev flannel.1",
      "+ neighbour 10.20.7.0 lladdr 02:00:00:00:00:01 dev flannel.1",
      "+ fdb 02:00:00:00:00:07 dst 172.28.128.101 dev flannel.1",
      "- route 10.20.7.0/24 via 10.20.7.0 dev flannel.1 proto 102 onlink",
      "+ route 10.20.7.0/24 via 172.28.128.101 dev eth1 proto 102",
      "- address 10.20.93.0/32 dev flannel.1",
      "- tx-checksum-ip-generic on dev flannel.1",
      "+ tx-checksum-ip-generic off dev flannel.1",
    ],
  );
  assertEquals(state(), before);
  assertEquals(real.transmitChecksumOffload("flannel.1"), true);
});

Deno.test("DryRunNetlink takes a deleted link's routes for gone, and its name for free", async () => {
  await using host = await Namespace.make();
  for (const command of SETUP) await host.run("ip", ...command.split(" "));
  using netlink = DryRunNetlink.open({ netns: `/run/netns/${host.name}` });
  const link = netlink.link("flannel.1")!;
  const { index } = link;
  netlink.deleteLink(index);
  assertEquals(netlink.link("flannel.1"), undefined);
  assertEquals(netlink.routes({ table: 254 }).filter(({ oif }) => oif === index), []);
  const local = ip("172.28.128.100");
  const made = netlink.createLink({
    ...{ name: "flannel.1", mtu: 1450, mac: "02:00:00:00:00:02" },
    kind: VXLAN,
    attributes: { ...VXLAN.of(link)!, local, port: 4789 },
  });
  assertEquals(netlink.link("flannel.1")?.index, made.index);
  // The old one may have other settings.
  assertEquals(netlink.transmitChecksumOffload("flannel.1"), true);
  assertEquals(netlink.addresses({ index: made.index }), []);
  assertEquals(netlink.fdb({ index: made.index }), []);
  assertEquals(netlink.neighbours({ index: made.index }), []);
  assertEquals(
    netlink.changes.flatMap((change) => describeChange(change, (index) => netlink.nameOf(index)))
      .map(({ sign, text }) => `${sign} ${text.replace(/ type.*dstport/, "")}`),
    [
      "- device flannel.1 8472 nolearning mtu 1450 up",
      "+ device flannel.1 4789 nolearning mtu 1450 down",
    ],
  );
});
