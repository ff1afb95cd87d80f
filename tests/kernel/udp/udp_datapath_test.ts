/**
 * The udp data path on real devices: two hosts in namespaces, a veth pair between them.
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { ipv4Packet, pattern } from "../../../backends/udp/user/testing/packets.ts";
import { parseIPv4 } from "../../../mod/ip/mod.ts";
import { libc } from "../../../mod/sys/mod.ts";
import { outputOf, ping, transfer } from "./udp_exchange.ts";
import { ADDRESSES, DEVICE_ADDRESSES, LEASES, UdpLab } from "./udp_lab.ts";
import type { NodeOptions } from "./udp_node.ts";
import { RawPeer } from "./udp_raw_peer.ts";

// Loaded before any test: older runtimes report a library as leaked by the test that opens it.
libc();

const ip = (text: string) => parseIPv4(text)!;

const VARIANTS: [string, Partial<NodeOptions>][] = [
  ["all offloads", {}],
  ["no offload on the device", { deviceOffload: false }],
  ["no offload on the socket", { socketOffload: false }],
  ["no offload at all", { deviceOffload: false, socketOffload: false }],
  ["two workers", { workers: 2 }],
];

for (const [name, options] of VARIANTS) {
  Deno.test(`UdpDataPath carries pings, fragments and bulk TCP both ways, with ${name}`, async () => {
    await using lab = await UdpLab.make();
    const [a, b] = await lab.startBoth(options);
    const [left, right] = lab.hosts;
    const [here, there] = DEVICE_ADDRESSES;
    const pings = await ping(left, there, 3);
    assertStringIncludes(pings, "3 packets received");
    assertStringIncludes(pings, "ttl=62", "each end decrements the TTL, as with flannel's proxy");
    assertStringIncludes(await ping(left, there, 2, "-s", "8000"), "2 packets received");
    await transfer(left, right, there, 64);
    await transfer(right, left, here, 64);
    const [sender, receiver] = [await a.report(), await b.report()];
    assertEquals(sender.counters.sentPackets, receiver.counters.receivedPackets);
    assertEquals(sender.counters.sentBytes, receiver.counters.receivedBytes);
    assert(sender.counters.sentBytes > 64e6);
    assertEquals(sender.traffic.map(({ publicIP }) => publicIP), [ip(ADDRESSES[1])]);
    assertEquals(sender.traffic[0]!.sentBytes, sender.counters.sentBytes);
    // GSO packets: many packets in a read, if the kernel provides them, and always in a write.
    const tso = options.deviceOffload !== false;
    assertEquals(sender.counters.readFrames * 4 < sender.counters.sentPackets, tso);
    assert(sender.counters.writtenFrames * 2 < sender.counters.receivedPackets);
  });
}

Deno.test("UdpDataPath counts a datagram that its buffer cannot hold as truncated", async () => {
  await using lab = await UdpLab.make();
  const node = await lab.start(0, { socketOffload: false });
  using peer = new RawPeer(lab.hosts[1], ADDRESSES[1]);
  const datagram = (size: number) =>
    ipv4Packet({
      ...{ source: ip("10.40.2.9"), destination: ip("10.40.1.0") },
      ...{ protocol: 253, payload: pattern(size) },
    });
  peer.send(ADDRESSES[0], datagram(9300));
  peer.send(ADDRESSES[0], datagram(9000));
  let { counters } = await node.report();
  for (let tries = 0; counters.receivedPackets < 1 && tries < 100; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 10));
    counters = (await node.report()).counters;
  }
  assertEquals([counters.dropReceiveTruncated, counters.receivedPackets], [1, 1]);
});

Deno.test("UdpDataPath answers a packet without a route with ICMP 3/0, except a ping", async () => {
  await using lab = await UdpLab.make();
  const node = await lab.start(0);
  const [host] = lab.hosts;
  const refused = await outputOf(host!, "busybox", "nc", "-w", "5", "10.40.99.1", "80");
  assertStringIncludes(refused, "Network is unreachable");
  assertStringIncludes(await ping(host!, "10.40.99.1", 1), "0 packets received");
  assertEquals((await node.report()).counters.unreachables, 1);
});

Deno.test("UdpDataPath reports a smaller path MTU, and fragments packets without DF", async () => {
  await using lab = await UdpLab.make();
  const [node] = await lab.startBoth();
  const [left, right] = lab.hosts;
  for (const host of ["1", "2"]) {
    await right.run("ip", "addr", "add", `10.40.2.${host}/32`, "dev", "flannel0");
  }
  await left.run("ip", "route", "add", ADDRESSES[1], "dev", "eth1", "mtu", "1300");
  // The first packet is lost and answered; the sender's kernel fragments the others.
  const learned = await ping(left, "10.40.2.0", 3, "-s", "1400");
  assertStringIncludes(learned, "2 packets received");
  assertStringIncludes(await left.run("ip", "route", "get", "10.40.2.0"), "mtu 1272");
  await transfer(left, right, "10.40.2.1", 8);
  const { counters, offload } = await node.report();
  assert(counters.tooBigs >= 2 && counters.tooBigs < 20, `${counters.tooBigs} errors`);
  assert(counters.dropSendTooBig >= counters.tooBigs);
  assert(offload.udpGso, "a smaller path MTU does not disable GSO");

  const pathDiscovery = "/proc/sys/net/ipv4/ip_no_pmtu_disc";
  await left.run("sh", "-c", `echo 1 > ${pathDiscovery}`);
  const allowed = await ping(left, "10.40.2.2", 2, "-s", "1400");
  assertStringIncludes(allowed, "2 packets received", "without DF no packet is lost");
  assertEquals((await node.report()).counters.tooBigs, counters.tooBigs);
});

Deno.test("UdpDataPath carries a flood of small datagrams in few frames, none of which is refused", async () => {
  await using lab = await UdpLab.make();
  const [a, b] = await lab.startBoth();
  const [left, right] = lab.hosts;
  const server = right.spawn("iperf3", "-s", "-1");
  while ((await right.run("ss", "-Hltn", "sport = :5201")).trim() === "");
  await left.run("iperf3", "-c", DEVICE_ADDRESSES[1], "-t", "1", "-u", "-b", "0", "-l", "64");
  await server.output();
  const [sender, receiver] = [await a.report(), await b.report()];
  const { receivedPackets, writtenFrames, dropReceiveRefused } = receiver.counters;
  assert(receivedPackets > 5000, `${receivedPackets} packets`);
  assert(writtenFrames * 2 < receivedPackets, `${writtenFrames} frames`);
  assert(sender.counters.sentBatches * 2 < sender.counters.sentPackets);
  assertEquals(dropReceiveRefused, 0);
  assert(receiver.offload.udp && sender.offload.udpGso);
});

Deno.test("UdpDataPath follows added and removed peers at once", async () => {
  await using lab = await UdpLab.make();
  const [a] = await lab.startBoth();
  const reached = async () =>
    (await ping(lab.hosts[0], DEVICE_ADDRESSES[1], 1)).includes("1 packets received");
  assert(await reached());
  await a.send({ peers: { [LEASES[1]]: null } });
  assert(!await reached());
  await a.send({ peers: { [LEASES[1]]: ADDRESSES[1] } });
  assert(await reached());
  await a.send({ own: null });
  assert(!await reached());
  const { counters } = await a.report();
  assertEquals([counters.dropSendNoRoute, counters.dropReceiveForeign], [1, 1]);
});

Deno.test("a killed node leaves its device, address and route to the next one", async () => {
  await using lab = await UdpLab.make();
  const [a] = await lab.startBoth();
  const [left] = lab.hosts;
  const reached = async () =>
    (await ping(left, DEVICE_ADDRESSES[1], 1)).includes("1 packets received");
  assert(await reached());
  const state = () => left.run("sh", "-c", "ip -o addr show flannel0; ip route show dev flannel0");
  const before = await state();
  await a.kill();
  const strip = (text: string) => text.replaceAll(" linkdown", "");
  assertEquals(strip(await state()), before);
  // Without `own` the node configures nothing: it uses the configuration that stayed.
  const again = await lab.start(0, { own: undefined! });
  await again.send({ own: LEASES[0] });
  assertEquals(await state(), before);
  assert(await reached());
});

Deno.test("a node reports the deletion of its device, and ends", async () => {
  await using lab = await UdpLab.make();
  const node = await lab.start(0);
  await lab.hosts[0].run("ip", "link", "del", "flannel0");
  assertStringIncludes(await node.line(), "the udp data path has stopped: readv flannel0: EBADFD");
});

Deno.test("a change of the number of workers creates the device again", async () => {
  await using lab = await UdpLab.make();
  for (const workers of [1, 2, 1]) {
    await using _node = await lab.start(0, { workers });
    const [details] = JSON.parse(
      await lab.hosts[0].run("ip", "-j", "-d", "link", "show", "flannel0"),
    );
    assertEquals(details.linkinfo.info_data.multi_queue, workers > 1);
    assertEquals(details.linkinfo.info_data.persist, true);
  }
});

Deno.test("a node refuses a device that another process holds, or that is no TUN device, in one line", async () => {
  await using lab = await UdpLab.make();
  await lab.start(0);
  const start = async (options: Partial<NodeOptions>) => {
    const program = new URL("./udp_node.ts", import.meta.url).pathname;
    const given = { network: "10.40.0.0/16", address: ADDRESSES[0], ...options };
    const args = ["run", "-A", "--no-check", "--no-lock", program, JSON.stringify(given)];
    return await outputOf(lab.hosts[0], Deno.execPath(), ...args);
  };
  assertStringIncludes(await start({}), "TUNSETIFF flannel0: EBUSY");
  assertStringIncludes(
    await start({ device: "eth1" }),
    "TUNSETIFF eth1: EINVAL: invalid argument (an interface of that name exists and is not a TUN",
  );
  assertStringIncludes(
    await start({ device: "other0" }),
    "bind 172.28.128.100:8285/udp: EADDRINUSE",
  );
});

Deno.test("the worker does idle polls after a packet, then sleeps until the next one", async () => {
  await using lab = await UdpLab.make();
  const [node] = await lab.startBoth();
  /** Number of voluntary context switches of the worker's thread (proc_pid_status(5)). */
  const sleeps = async () => {
    for await (const { name } of Deno.readDir(`/proc/${node.pid}/task`)) {
      const status = await Deno.readTextFile(`/proc/${node.pid}/task/${name}/status`);
      if (!/^Name:\tworker-/.test(status)) continue;
      return Number(/^voluntary_ctxt_switches:\t(\d+)/m.exec(status)![1]);
    }
    throw new Error("the node has no worker");
  };
  /** Waits until the worker sleeps for the time of a hundred idle polls. */
  const quiet = async () => {
    for (let tries = 0; tries < 50; tries++) {
      const before = await sleeps();
      await new Promise((resolve) => setTimeout(resolve, 300));
      if (await sleeps() === before) return before;
    }
    throw new Error("the worker does not sleep");
  };
  // Without IPv6, whose packets would wake the worker.
  await lab.hosts[0].run("sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/flannel0/disable_ipv6");
  const before = await quiet();
  assertStringIncludes(await ping(lab.hosts[0], DEVICE_ADDRESSES[1], 1), "1 packets received");
  const after = await quiet();
  // A packet each way, and twenty idle polls.
  assert(after - before >= 20 && after - before <= 60, `${after - before} sleeps`);
});
