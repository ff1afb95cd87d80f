import { assertEquals, assertMatch, assertNotEquals, assertRejects } from "@std/assert";
import { vxlanBackend } from "../../../backends/vxlan/vxlan.ts";
import { LeaseSet } from "../../../mod/subnet/mod.ts";
import { SysError } from "../../../mod/sys/mod.ts";
import { deviceOf, ip, prepareVxlan, test, vxlanLease } from "./vxlan_lab.ts";

/** A device that can serve, as flannel makes it. */
const DEVICE =
  "link add flannel.1 type vxlan id 1 dev eth1 local 172.28.128.100 dstport 8472 nolearning";

/** Not a group address, and locally administered (IEEE 802). */
const OWN_MAC = /^[0-9a-f][26ae](:[0-9a-f]{2}){5}$/;

test("prepare() makes the device that flannel would", async ({ lab }) => {
  const { network, own } = await prepareVxlan(lab.host);
  const device = await deviceOf(lab.host);
  const { id, link, local, port, learning, l2miss, l3miss } = device.linkinfo.info_data;
  assertEquals({ id, link, local, port, learning, l2miss, l3miss }, {
    ...{ id: 1, link: "eth1", local: "172.28.128.100", port: 8472 },
    ...{ learning: false, l2miss: false, l3miss: false },
  });
  for (const absent of ["gbp", "group", "remote"]) {
    assertEquals(device.linkinfo.info_data[absent], undefined);
  }
  assertEquals(device.mtu, 1450);
  assertEquals(device.flags.includes("UP"), true);
  assertMatch(device.address, OWN_MAC);
  assertEquals(vxlanBackend.leaseType, "vxlan");
  assertEquals(own.attributes.backendData, { VtepMAC: device.address });
  assertEquals(network.leaseData("v0.20"), { VNI: 1, VtepMAC: device.address });
  assertEquals(network.status().device, "flannel.1");

  await network.sync(own, new LeaseSet());
  const [addresses] = await lab.host.ipJson<{ addr_info: Record<string, unknown>[] }>(
    ..."-4 address show dev flannel.1".split(" "),
  );
  const [{ local: address, prefixlen, scope }] = addresses!.addr_info as [Record<string, unknown>];
  assertEquals({ address, prefixlen, scope }, {
    ...{ address: "10.20.1.0", prefixlen: 32, scope: "global" },
  });
});

test("prepare() takes VNI, Port, GBP, Learning and MTU from the config", async ({ lab }) => {
  const options = { VNI: 4097, Port: 4789, GBP: true, Learning: true, MTU: 1400 };
  const { network } = await prepareVxlan(lab.host, options);
  const device = await deviceOf(lab.host, "flannel.4097");
  const { id, port, gbp, learning } = device.linkinfo.info_data;
  // iproute2 prints the flag GBP as a key without a value.
  assertEquals({ id, port, gbp, learning }, { id: 4097, port: 4789, gbp: null, learning: true });
  assertEquals(device.mtu, 1350);
  assertEquals(network.mtu, 1350);
  assertEquals(network.leaseData("v0.20"), { VNI: 4097, VtepMAC: device.address });
});

test("prepare() gives a new device the MAC in the host's lease", async ({ lab }) => {
  const VtepMAC = "c6:8a:3d:5f:56:2e";
  await prepareVxlan(lab.host, {}, { formerData: { VtepMAC } });
  assertEquals((await deviceOf(lab.host)).address, VtepMAC);
});

test("prepare() keeps a device that can serve, its MAC included", async ({ lab, log }) => {
  const { host } = lab;
  await ip(host, DEVICE);
  await ip(host, "link set flannel.1 mtu 1300 address 0e:11:22:33:44:55 up");
  const before = await deviceOf(host);
  const { own } = await prepareVxlan(host, {}, {
    formerData: { VtepMAC: "c6:8a:3d:5f:56:2e" },
  });
  const after = await deviceOf(host);
  assertEquals(after, { ...before, mtu: 1450 });
  assertEquals(own.attributes.backendData, { VtepMAC: "0e:11:22:33:44:55" });
  await prepareVxlan(host, { MTU: 1400 });
  assertEquals(await deviceOf(host), { ...before, mtu: 1350 });
  assertEquals(log, []);
});

test("prepare() replaces an unusable device, and logs the reason", async ({ lab, log, step }) => {
  const { host } = lab;
  await ip(host, "link add eth2 type veth peer name eth3");
  const { netlink } = host;
  const [eth1, eth2] = ["eth1", "eth2"].map((name) => netlink.link(name)!.index);
  const devices: readonly (readonly [what: string, line: string, reason: string])[] = [
    ["VNI", DEVICE.replace("id 1", "id 7"), "vni: 7 vs 1"],
    ["interface", DEVICE.replace("dev eth1", "dev eth2"), `external interface: ${eth2} vs ${eth1}`],
    [
      "address",
      DEVICE.replace("128.100", "128.9"),
      "vtep (external) IP: 172.28.128.9 vs 172.28.128.100",
    ],
    ["port", DEVICE.replace("8472", "4789"), "port: 4789 vs 8472"],
    ["group", `${DEVICE} group 239.1.1.1`, "group: 239.1.1.1 vs none"],
    ["remote", `${DEVICE} remote 172.28.128.101`, "group: 172.28.128.101 vs none"],
    ["L2 miss", `${DEVICE} l2miss`, "l2miss: on vs off"],
    ["L3 miss", `${DEVICE} l3miss`, "l3miss: on vs off"],
    ["GBP", `${DEVICE} gbp`, "gbp: true vs false"],
    ["learning", DEVICE.replace("nolearning", "learning"), "learning: true vs false"],
    ["no address", DEVICE.replace(/local \S+ /, ""), "vtep (external) IP: none vs 172.28.128.100"],
    ["kind bridge", "link add flannel.1 type bridge", "link type: bridge vs vxlan"],
    ["kind veth", "link add flannel.1 type veth peer name veth9", "link type: veth vs vxlan"],
  ];
  for (const [what, line, reason] of devices) {
    await step(what, async () => {
      const from = log.length;
      await ip(host, line);
      await ip(host, "link set flannel.1 up");
      await ip(host, "address add 10.20.1.0/32 dev flannel.1");
      const stranger = await deviceOf(host);
      const { network, own } = await prepareVxlan(host, {}, {
        formerData: { VtepMAC: "c6:8a:3d:5f:56:2e" },
      });
      assertEquals(log.slice(from), [
        `W "flannel.1" already exists with incompatible configuration: ${reason}; ` +
        "recreating device",
        "I Created device flannel.1, VTEP MAC c6:8a:3d:5f:56:2e",
      ]);
      const device = await deviceOf(host);
      assertNotEquals(device.ifindex, stranger.ifindex);
      assertEquals(device.linkinfo.info_kind, "vxlan");
      await network.sync(own, new LeaseSet([vxlanLease("10.20.2.0/24", "172.28.128.101")]));
      assertEquals(log.length, from + 2, "the device it made cannot serve either");
      assertEquals((await deviceOf(host)).ifindex, device.ifindex);
      await network.remove();
    });
  }
});

test("prepare() names another device with the VNI", async ({ lab }) => {
  await ip(lab.host, DEVICE.replace("flannel.1", "vxlan0"));
  await assertRejects(
    () => prepareVxlan(lab.host),
    SysError,
    "RTM_NEWLINK flannel.1: EEXIST: file exists (A VXLAN device with the specified VNI already exists)",
  );
  await prepareVxlan(lab.host, { VNI: 2 });
});

test("remove() leaves a device that is not its own", async ({ lab }) => {
  const { network } = await prepareVxlan(lab.host);
  await ip(lab.host, "link del flannel.1");
  await ip(lab.host, "link add flannel.1 type bridge");
  const before = await lab.host.state();
  await network.remove();
  assertEquals(await lab.host.state(), before);
});

test("prepare() turns checksum offload on and off as requested, and keeps it so", async ({ host, log, step }) => {
  const offload = async () => {
    const text = await host.namespace.exec("ethtool", "-k", "flannel.1");
    return /tx-checksum-ip-generic: (\w+)/.exec(text)?.[1];
  };
  for (const txChecksum of ["off", "on", "off"] as const) {
    await step(txChecksum, async () => {
      const { network, own } = await prepareVxlan(host, {}, { vxlan: { txChecksum } });
      assertEquals(await offload(), txChecksum);
      await network.sync(own, new LeaseSet());
      await using watch = host.watch(network);
      const other = txChecksum === "on" ? "off" : "on";
      await host.namespace.exec("ethtool", "-K", "flannel.1", "tx-checksum-ip-generic", other);
      while (watch.damage.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
      assertEquals(watch.damage[0], "tx-checksum-ip-generic of flannel.1 altered");
      await network.sync(own, new LeaseSet());
      assertEquals(await offload(), txChecksum);
      // A new device starts with the kernel's defaults.
      await ip(host, "link del flannel.1");
      await network.sync(own, new LeaseSet());
      assertEquals(await offload(), txChecksum);
    });
  }
  assertEquals(log.filter((line) => line.startsWith("W")), []);
  assertEquals(log.includes("I Turned tx-checksum-ip-generic of flannel.1 off"), true);
});

test("prepare() leaves checksum offload alone on a kernel without the bug", async ({ host }) => {
  await ip(host, DEVICE);
  await host.namespace.exec("ethtool", "-K", "flannel.1", "tx-checksum-ip-generic", "off");
  const { network, own } = await prepareVxlan(host);
  await network.sync(own, new LeaseSet());
  const text = await host.namespace.exec("ethtool", "-k", "flannel.1");
  assertMatch(text, /tx-checksum-ip-generic: off/);
});
