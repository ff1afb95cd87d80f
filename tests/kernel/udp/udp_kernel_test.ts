/** The udp backend's kernel path on real devices: two hosts in namespaces, a veth pair between them. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { setTxOffload } from "../../../bench/udp/wire.ts";
import { type Attachment, KernelPath } from "../../../backends/udp/kernel/kernel_path.ts";
import {
  type KernelRoute,
  MAPS,
  type PathSettings,
} from "../../../backends/udp/kernel/programs/layout.ts";
import { parseIPv4, Prefix } from "../../../mod/ip/mod.ts";
import { bpf } from "../../../mod/sys/bpf/call.ts";
import {
  Assembler,
  BPFFS,
  BpfMap,
  BpfProgram,
  openPin,
  R0,
  Verdict,
} from "../../../mod/sys/bpf/mod.ts";
import { libc, Netlink } from "../../../mod/sys/mod.ts";
import { NetworkNamespace } from "../../lab/netns.ts";
import {
  ADDRESSES,
  DEVICE_ADDRESSES,
  LEASES,
  type Mode,
  MODES,
  UdpLab,
  type UdpNode,
} from "./udp_lab.ts";
import { mixed, outputOf, ping, transfer } from "./udp_exchange.ts";
import type { KernelOptions } from "./udp_node.ts";

libc();

const ip = (text: string) => parseIPv4(text)!;
const [here, there] = DEVICE_ADDRESSES;

async function startBoth(
  lab: UdpLab,
  kernel: Partial<KernelOptions> = {},
): Promise<[UdpNode, UdpNode]> {
  return [await lab.startAs(0, "kernel", kernel), await lab.startAs(1, "kernel", kernel)];
}

for (const attachment of ["tcx", "clsact"] as Attachment[]) {
  Deno.test(`KernelPath carries pings, fragments and bulk TCP both ways, by ${attachment}`, async () => {
    await using lab = await UdpLab.make();
    const [a, b] = await startBoth(lab, { attachment });
    const [left, right] = lab.hosts;
    const pings = await ping(left, there, 3);
    assertStringIncludes(pings, "3 packets received");
    assertStringIncludes(pings, "ttl=62", "each end decrements the TTL, as in user space");
    assertStringIncludes(await ping(left, there, 2, "-s", "8000"), "2 packets received");
    await transfer(left, right, there, 64);
    await transfer(right, left, here, 64);
    const [sender, receiver] = [await a.report(), await b.report()];
    assertEquals(sender.kernel!.attachment, attachment);
    const [[sent], [received]] = [sender.kernel!.traffic, receiver.kernel!.traffic];
    assertEquals(sent!.publicIP, ip(ADDRESSES[1]));
    assert(sent!.sentBytes > 64e6 && sent!.receivedBytes > 64e6);
    assertEquals(sent!.sentBytes, received!.receivedBytes);
    assertEquals(sent!.sentPackets, received!.receivedPackets);
    for (const { counters, kernel } of [sender, receiver]) {
      assertEquals([counters.sentPackets, counters.receivedPackets], [0, 0], "none by user space");
      assertEquals(Object.values(kernel!.drops), [0, 0, 0, 0, 0]);
    }
  });
}

for (const from of MODES) {
  for (const to of MODES) {
    Deno.test(`10,000 mixed datagrams arrive unharmed from ${from} to ${to}`, async () => {
      await using lab = await UdpLab.make();
      const carried = from === "kernel" && to === "kernel";
      const kernel = carried ? {} : { carried: [] };
      const a = await lab.startAs(0, from, kernel);
      await lab.startAs(1, to, kernel);
      await mixed(lab.hosts[0], lab.hosts[1], there, 10_000);
      const { kernel: path, counters } = await a.report();
      const byKernel = path?.traffic[0]?.sentPackets ?? 0;
      // Between kernels only UDP GSO packets go through user space.
      assertEquals(byKernel > 4_000, carried);
      assert(counters.sentPackets > 1_000);
    });
  }
}

for (const peer of ["user", "one-packet"] as Mode[]) {
  Deno.test(`KernelPath carries a peer in ${peer} mode on a wire that completes offloads`, async () => {
    await using lab = await UdpLab.make();
    const [left, right] = lab.hosts;
    for (const host of lab.hosts) setTxOffload(host, "eth1", false);
    const a = await lab.startAs(0, "kernel");
    await lab.startAs(1, peer);
    await transfer(left, right, there, 32);
    await transfer(right, left, here, 32);
    await mixed(left, right, there, 3_000);
    await mixed(right, left, here, 3_000);
    const [traffic] = (await a.report()).kernel!.traffic;
    assert(traffic!.sentBytes > 32e6 && traffic!.receivedBytes > 32e6);
  });
}

Deno.test("KernelPath accepts what a peer's kernel sends before it sends to that peer itself", async () => {
  await using lab = await UdpLab.make();
  const [left, right] = lab.hosts;
  // As a host that has not heard yet of its peer's kernel path.
  const a = await lab.startAs(0, "kernel", { carried: [] });
  await lab.startAs(1, "kernel");
  await transfer(left, right, there, 4);
  await transfer(right, left, here, 4);
  assertStringIncludes(await ping(right, here, 5), "5 packets received");
  const { counters, kernel } = await a.report();
  assert(counters.sentBytes > 4e6 && kernel!.traffic[0]!.receivedBytes > 4e6);
});

Deno.test("KernelPath accepts datagrams with partial checksums from a peer in user space", async () => {
  await using lab = await UdpLab.make();
  // Host 0 completes offloads, host 1 does not.
  setTxOffload(lab.hosts[0], "eth1", false);
  const a = await lab.startAs(0, "kernel");
  await lab.startAs(1, "user");
  await mixed(lab.hosts[1], lab.hosts[0], here, 5_000);
  await transfer(lab.hosts[1], lab.hosts[0], here, 32);
  const [traffic] = (await a.report()).kernel!.traffic;
  // Most arrive in segment batches, which user space carries.
  assert(traffic!.receivedPackets > 100, `${traffic!.receivedPackets} packets`);
});

Deno.test("KernelPath leaves ICMP errors to user space: no route, and none for TTL 1", async () => {
  await using lab = await UdpLab.make();
  const node = await lab.startAs(0, "kernel");
  const [host] = lab.hosts;
  const refused = await outputOf(host, "busybox", "nc", "-w", "5", "10.40.99.1", "80");
  assertStringIncludes(refused, "Network is unreachable");
  assertStringIncludes(await ping(host, there, 1, "-t", "1"), "0 packets received");
  const { counters } = await node.report();
  assertEquals([counters.unreachables, counters.dropSendTtl], [1, 1]);
});

Deno.test("KernelPath follows peers and changes of their paths at once", async () => {
  await using lab = await UdpLab.make();
  const [a, b] = await startBoth(lab);
  const reached = async () => (await ping(lab.hosts[0], there, 1)).includes("1 packets received");
  assert(await reached());
  await a.send({ peers: { [LEASES[1]]: null } });
  assert(!await reached());
  await a.send({ peers: { [LEASES[1]]: ADDRESSES[1] } });
  assert(await reached());
  // During a transfer both ends change its path again and again.
  const over = transfer(lab.hosts[0], lab.hosts[1], there, 256).then(() => true);
  let ended = false;
  over.finally(() => ended = true);
  for (let round = 0; !ended; round++) {
    const carried = round % 2 === 0 ? [] : [...ADDRESSES];
    await Promise.all([a.send({ carried }), b.send({ carried })]);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  await over;
  const { counters, kernel } = await a.report();
  assert(counters.sentPackets > 0 && kernel!.traffic[0]!.sentPackets > 0);
});

Deno.test("the kernel carries packets after its node is killed, and the next node adopts it without loss", async () => {
  await using lab = await UdpLab.make();
  const [a] = await startBoth(lab);
  const [left] = lab.hosts;
  const pinging = ping(left, there, 40);
  await new Promise((resolve) => setTimeout(resolve, 500));
  await a.kill();
  assertStringIncludes(await ping(left, there, 5), "5 packets received", "without a node");
  const again = await lab.startAs(0, "kernel");
  assertStringIncludes(await pinging, "40 packets received");
  const { kernel } = await again.report();
  assert(kernel!.traffic[0]!.sentPackets >= 25, "the count continues");
});

Deno.test("a node replaces frozen maps without losing a packet", async () => {
  await using lab = await UdpLab.make();
  const [a] = await startBoth(lab);
  const [left] = lab.hosts;
  const pinging = ping(left, there, 40);
  await a.kill();
  const ids: number[] = [];
  for (const name of ["routes", "gro"] as const) {
    using map = new BpfMap(openPin(`${lab.pins(0)}/${name}`)!, MAPS[name]);
    ids.push(map.id);
    const attributes = new Uint8Array(new ArrayBuffer(8));
    new DataView(attributes.buffer).setInt32(0, map.fd, true);
    bpf("BPF_MAP_FREEZE", attributes);
  }
  const again = await lab.startAs(0, "kernel");
  assertStringIncludes(await pinging, "40 packets received");
  // A frozen map refuses both.
  await again.send({ peers: { [LEASES[1]]: null } });
  await again.send({ peers: { [LEASES[1]]: ADDRESSES[1] } });
  assertStringIncludes(await ping(left, there, 2), "2 packets received");
  for (const name of ["routes", "gro"] as const) {
    using map = new BpfMap(openPin(`${lab.pins(0)}/${name}`)!, MAPS[name]);
    assert(!ids.includes(map.id), `${name} is a new map`);
  }
  assertEquals((await again.report()).kernel!.groPath, "flannel0-gro");
});

for (const attachment of ["tcx", "clsact"] as Attachment[]) {
  Deno.test(`KernelPath.damage() describes a removed object, and sync() repairs it, by ${attachment}`, async () => {
    await using lab = await UdpLab.make();
    const [a] = await startBoth(lab, { attachment });
    const [left] = lab.hosts;
    const damage = async () => (await a.report()).kernel!.damage;
    assertEquals(await damage(), null);
    const detach = attachment === "tcx"
      // Removing the pin detaches the program as soon as no process has the link open.
      ? ["rm", "-r", lab.pins(0)]
      : ["tc", "filter", "del", "dev", "eth1", "ingress"];
    await left.run(...detach);
    assertStringIncludes(String(await damage()), attachment === "tcx" ? "unpinned" : "detached");
    await a.send({ sync: true });
    assertEquals(await damage(), null);
    await a.kill();
    assertStringIncludes(await ping(left, there, 2), "2 packets received");
  });
}

Deno.test("KernelPath.remove() leaves nothing behind", async () => {
  await using lab = await UdpLab.make();
  const [a] = await startBoth(lab);
  const [left] = lab.hosts;
  await a.send({ removeKernel: true });
  const pins = await Deno.stat(lab.pins(0)).then(() => true, () => false);
  assertEquals(pins, false);
  // The peer's kernel sends packets that only a kernel can read, so the peer switches to user space first.
  await lab.nodes[1]!.send({ carried: [] });
  const before = await a.report();
  assertStringIncludes(await ping(left, there, 2), "2 packets received");
  assertEquals((await a.report()).counters.sentPackets - before.counters.sentPackets, 2);
});

Deno.test("KernelPath.sync() adds 65,536 peers to the kernel, and removes all but ten", async () => {
  await using namespace = await NetworkNamespace.create();
  await namespace.ip("link", "add", "eth1", "type", "veth", "peer", "name", "eth2");
  using netlink = Netlink.open({ netns: namespace.path });
  const { index, mtu } = netlink.link("eth1")!;
  const network = Prefix.parse("10.0.0.0/8")!;
  const settings: PathSettings = {
    ...{ device: netlink.link("eth2")!.index, underlay: index, mtu, port: 8285 },
    ...{ address: ip(ADDRESSES[0]), own: Prefix.parse("10.0.0.0/24")!, network },
    ...{ acceptAny: false, strictSource: false },
  };
  const directory = `${BPFFS}/flanneld_test_${namespace.name}`;
  const routes = Array.from({ length: 65_536 }, (_, i) => ({
    subnet: new Prefix(network.address + i * 256, 24),
    publicIP: ip("172.16.0.0") + i,
    carried: i % 2 === 0,
  }));
  using path = namespace.enter(() =>
    KernelPath.open({
      ...{ netlink, directory, settings },
      device: "eth2",
    })
  );
  try {
    const leases = (routes: KernelRoute[]) => {
      namespace.enter(() => path.sync(settings, routes));
      return path.traffic().length;
    };
    assertEquals([leases(routes), leases(routes), leases(routes.slice(0, 10))], [
      65_536,
      65_536,
      10,
    ]);
  } finally {
    path.remove();
  }
});

Deno.test("KernelPath by clsact removes an earlier agent's filter from its former interface, and no other filter", async () => {
  await using namespace = await NetworkNamespace.create();
  const tc = (...args: string[]) => namespace.exec("tc", ...args);
  await namespace.ip("tuntap", "add", "flannel0", "mode", "tun");
  for (const name of ["eth1", "eth2", "eth3"]) {
    await namespace.ip("link", "add", name, "type", "veth", "peer", "name", `${name}p`);
  }
  // eth2 has a clsact qdisc already.
  await tc("qdisc", "add", "dev", "eth2", "clsact");
  using netlink = Netlink.open({ netns: namespace.path });
  const index = (name: string) => netlink.link(name)!.index;
  const network = Prefix.parse("10.40.0.0/16")!;
  const directory = `${BPFFS}/flanneld_test_${namespace.name}`;
  const run = (underlay: string) => {
    const settings: PathSettings = {
      ...{ device: index("flannel0"), underlay: index(underlay), mtu: 1500, port: 8285 },
      ...{ address: ip(ADDRESSES[0]), own: Prefix.parse("10.40.1.0/24")!, network },
      ...{ acceptAny: false, strictSource: false },
    };
    return namespace.enter(() => {
      const path = KernelPath.open({
        ...{ netlink, directory, settings, device: "flannel0", attachment: "clsact" },
      });
      path.sync(settings, []);
      return path;
    });
  };
  const filters = async (name: string) =>
    (await tc("filter", "show", "dev", name, "ingress")).match(/flanneld_\w+/g) ?? [];
  const hasClsact = async (name: string) =>
    (await tc("qdisc", "show", "dev", name)).includes("clsact");

  for (const name of ["eth1", "eth2", "eth3"]) {
    using _agent = run(name);
    for (const other of ["eth1", "eth2", "eth3"]) {
      assertEquals((await filters(other)).length > 0, other === name, `${other} with ${name}`);
      assertEquals(await hasClsact(other), other === name || other === "eth2", `qdisc of ${other}`);
    }
  }
  // The next agent knows which qdisc an earlier one has made.
  using last = run("eth3");
  const pass = new Assembler().mov(R0, Verdict.TC_ACT_UNSPEC).exit().assemble();
  using other = BpfProgram.load("other", pass);
  const place = { index: index("eth3"), direction: "egress", priority: 1 } as const;
  netlink.setFilter({ ...place, name: "other", fd: other.fd });
  namespace.enter(() => last.remove());
  assertEquals([await filters("eth3"), await hasClsact("eth3")], [[], true], "another's filter");

  await tc("qdisc", "del", "dev", "eth3", "clsact");
  using again = run("eth3");
  assertEquals(await hasClsact("eth3"), true);
  namespace.enter(() => again.remove());
  assertEquals(await hasClsact("eth3"), false);
});

Deno.test("KernelPath lets routers fragment where its host does not forward, and so knows no path MTU", async () => {
  await using lab = await UdpLab.makeNarrow(1300);
  for (const host of lab.hosts) {
    await host.run("sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward");
  }
  await startBoth(lab);
  const [left] = lab.hosts;
  assertStringIncludes(await ping(left, there, 4, "-s", "1400"), "4 packets received");
  assert(!(await left.run("ip", "route", "get", there)).includes("mtu"));
});
