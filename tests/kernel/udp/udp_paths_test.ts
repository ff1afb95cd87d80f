/** Properties of both data paths: each test runs in user space and in the kernel. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import {
  ipv4Packet,
  naiveChecksum,
  pattern,
  udpPacket,
} from "../../../backends/udp/user/testing/packets.ts";
import { parseIPv4 } from "../../../mod/ip/mod.ts";
import { libc } from "../../../mod/sys/mod.ts";
import type { Namespace } from "../firewall/firewall_namespace.ts";
import { flood, mixed, ping, transfer } from "./udp_exchange.ts";
import {
  ADDRESSES,
  DEVICE_ADDRESSES,
  LEASES,
  type NodeReport,
  UdpLab,
  type UdpNode,
} from "./udp_lab.ts";
import type { NodeOptions } from "./udp_node.ts";
import { RawPeer } from "./udp_raw_peer.ts";

// Loaded before any test: older runtimes report a library as leaked by the test that opens it.
libc();

const ip = (text: string) => parseIPv4(text)!;
const [here, there] = DEVICE_ADDRESSES;

type Path = "user" | "kernel";
const PATHS: readonly Path[] = ["user", "kernel"];

function start(
  lab: UdpLab,
  host: 0 | 1,
  path: Path,
  options: Partial<NodeOptions> = {},
  flags: readonly string[] = [],
): Promise<UdpNode> {
  const kernel = path === "kernel" && { kernel: { directory: lab.pins(host) } };
  return lab.start(host, { ...options, ...kernel }, flags);
}

async function startBoth(
  lab: UdpLab,
  path: Path,
  flags: readonly string[] = [],
): Promise<[UdpNode, UdpNode]> {
  return [await start(lab, 0, path, {}, flags), await start(lab, 1, path, {}, flags)];
}

/** Packets that the path under test carried in a direction. */
function carried(report: NodeReport, path: Path, direction: "sentPackets" | "receivedPackets") {
  return path === "user"
    ? report.counters[direction]
    : report.kernel!.traffic.reduce((sum, traffic) => sum + traffic[direction], 0);
}

/** Received packets that either path has dropped, by reason. */
function receiveDrops({ counters, kernel }: NodeReport): [reason: string, count: number][] {
  return [...Object.entries(counters), ...Object.entries(kernel?.drops ?? {})]
    .filter(([name, count]) => name.startsWith("dropReceive") && count > 0);
}

/** Sends pings of a size and returns the number of answers. */
async function answered(from: Namespace, to: string, count: number, size: number): Promise<number> {
  const args = ["-c", String(count), "-i", "0.1", "-W", "1", "-s", String(size), to];
  const { stdout } = await from.spawn("busybox", "ping", ...args).output();
  return Number(/(\d+) packets received/.exec(new TextDecoder().decode(stdout))![1]);
}

/** Adds and removes peers on both hosts until a promise is fulfilled or rejected; returns the number of rounds. */
async function whilePeersChange<T>(
  nodes: readonly UdpNode[],
  running: Promise<T>,
): Promise<number> {
  let over = false;
  let rounds = 0;
  const churn = (async () => {
    for (; !over; rounds++) {
      const peers: Record<string, string | null> = {};
      for (let i = 10; i < 210; i++) {
        peers[`10.40.${i}.0/24`] = (rounds + i) % 3 === 0 ? null : `172.29.${rounds % 200}.${i}`;
      }
      await Promise.all(nodes.map((node) => node.send({ peers })));
    }
  })();
  try {
    await running;
  } finally {
    over = true;
    await churn;
  }
  return rounds;
}

for (const path of PATHS) {
  Deno.test(`${path} speaks flannel's wire format: one IPv4 packet is one datagram`, async () => {
    await using lab = await UdpLab.make();
    const node = await start(lab, 0, path);
    using peer = new RawPeer(lab.hosts[1], ADDRESSES[1]);
    const pinging = ping(lab.hosts[0], "10.40.2.7", 1);
    const request = await peer.receive();
    assertEquals(
      [request[0], request[8], request[9]],
      [0x45, 63, 1],
      "IPv4, decremented TTL, ICMP",
    );
    assertEquals([...request.slice(12, 20)], [10, 40, 1, 0, 10, 40, 2, 7]);
    assertEquals(naiveChecksum(request.subarray(0, 20)), 0);
    const icmp = request.slice(20);
    icmp[0] = 0; // Echo reply: type 0, and a new checksum.
    icmp.fill(0, 2, 4);
    const checksum = naiveChecksum(icmp);
    icmp.set([checksum >> 8, checksum & 255], 2);
    const reply = ipv4Packet({
      ...{ source: ip("10.40.2.7"), destination: ip("10.40.1.0") },
      ...{ protocol: 1, ttl: 63, payload: icmp },
    });
    peer.send(ADDRESSES[0], reply);
    const output = await pinging;
    assertStringIncludes(output, "1 packets received");
    assertStringIncludes(output, "ttl=62");
    const report = await node.report();
    assertEquals(carried(report, path, "sentPackets"), 1);
    assertEquals(carried(report, path, "receivedPackets"), 1);
  });

  Deno.test(`${path} drops spoofed, misaddressed, truncated and replayed datagrams by reason`, async () => {
    await using lab = await UdpLab.make();
    const node = await start(lab, 0, path, {
      peers: { [LEASES[1]]: ADDRESSES[1], "10.40.3.0/24": "172.28.128.103" },
    });
    await lab.hosts[1].run("ip", "addr", "add", "172.28.128.102/24", "dev", "eth1");
    using peer = new RawPeer(lab.hosts[1], ADDRESSES[1]);
    using unknown = new RawPeer(lab.hosts[1], "172.28.128.102");
    const datagram = (source: string, destination: string, ttl = 64) =>
      udpPacket({
        ...{ source: ip(source), destination: ip(destination), ttl },
        ...{ payload: pattern(40), destinationPort: 9 },
      });
    const good = datagram("10.40.2.9", "10.40.1.0");
    peer.send(ADDRESSES[0], good);
    peer.send(ADDRESSES[0], good); // A replay passes: IP may deliver duplicates.
    peer.send(ADDRESSES[0], datagram("192.168.1.1", "10.40.1.0"));
    unknown.send(ADDRESSES[0], good);
    peer.send(ADDRESSES[0], datagram("10.40.3.9", "10.40.1.0"));
    peer.send(ADDRESSES[0], datagram("10.40.1.9", "10.40.1.0"));
    peer.send(ADDRESSES[0], datagram("10.40.2.9", "10.40.3.1"));
    peer.send(ADDRESSES[0], datagram("10.40.2.9", "10.40.1.0", 1));
    peer.send(ADDRESSES[0], good.slice(0, 60));
    peer.send(ADDRESSES[0], new Uint8Array(0));
    peer.send(ADDRESSES[0], pattern(1000));
    // Longer than any MTU: the underlay fragments it, and the device accepts it whole.
    const huge = ipv4Packet({
      ...{ source: ip("10.40.2.9"), destination: ip("10.40.1.0") },
      ...{ protocol: 253, payload: pattern(30000) },
    });
    peer.send(ADDRESSES[0], huge);
    // On the kernel path user space carries the source outside the network, and the reassembled fragments.
    const received = ({ counters, kernel }: NodeReport) =>
      counters.receivedPackets + (kernel?.traffic[0]?.receivedPackets ?? 0);
    let report = await node.report();
    for (let tries = 0; received(report) < 4 && tries < 100; tries++) {
      await new Promise((resolve) => setTimeout(resolve, 10));
      report = await node.report();
    }
    assertEquals(received(report), 4);
    const drops: Record<string, number> = {};
    for (const [name, count] of receiveDrops(report)) drops[name] = (drops[name] ?? 0) + count;
    assertEquals(drops, {
      dropReceiveUnknownSender: 1,
      dropReceiveSpoofed: 2,
      dropReceiveForeign: 1,
      dropReceiveMalformed: 3,
      dropReceiveTtl: 1,
    });
  });

  Deno.test(`large packets pass a path with a smaller MTU, or their sender gets an ICMP error, both ways, by ${path}`, async () => {
    await using lab = await UdpLab.makeNarrow(1300);
    const nodes = await startBoth(lab, path);
    const [left, right] = lab.hosts;
    for (const [from, to] of [[left, there], [right, here]] as const) {
      const answers = await answered(from, to, 6, 1400);
      const route = await from.run("ip", "route", "get", to);
      // At each end one packet is lost and one answered with ICMP 3/4; the others are fragmented.
      assert(answers >= 2, `${answers} answers`);
      assertStringIncludes(route, "mtu 1272");
    }
    await transfer(left, right, there, 8);
    await transfer(right, left, here, 8);
    for (const node of nodes) {
      const report = await node.report();
      assert(carried(report, path, "sentPackets") > 5_000);
      const { tooBigs } = report.counters;
      assert(tooBigs >= 1 && tooBigs < 20, `${tooBigs} errors`);
    }
  });

  Deno.test(`a flood of small datagrams passes by ${path}, and no received packet is dropped`, async () => {
    await using lab = await UdpLab.make();
    const [a, b] = await startBoth(lab, path);
    await flood(lab.hosts[0], lab.hosts[1], there, 1);
    // The receiver first: the sender may still have packets to send.
    const receiver = await b.report();
    const sender = await a.report();
    const received = carried(receiver, path, "receivedPackets");
    const sent = carried(sender, path, "sentPackets");
    assert(received > 5_000, `${received} packets`);
    assert(sent >= received, `${sent} sent, ${received} received`);
    assertEquals(receiveDrops(receiver), []);
  });

  Deno.test(`1 GB arrives unaltered while thousands of peers are added and removed, by ${path}`, async () => {
    await using lab = await UdpLab.make();
    const nodes = await startBoth(lab, path);
    const moving = transfer(lab.hosts[0], lab.hosts[1], there, 1024);
    const rounds = await whilePeersChange(nodes, moving);
    assert(rounds > 3, `${rounds} rounds`);
    const report = await nodes[1]!.report();
    assert(carried(report, path, "receivedPackets") > 2 ** 30 / 1472);
    assertEquals(receiveDrops(report), []);
  });

  Deno.test(`${path} carries packets under the collector's stress flags`, async () => {
    await using lab = await UdpLab.make();
    const stress = "--v8-flags=--gc-interval=500,--stress-compaction,--stress-scavenge=50";
    const nodes = await startBoth(lab, path, [stress]);
    const [left, right] = lab.hosts;
    const rounds = await whilePeersChange(nodes, transfer(left, right, there, 64));
    assert(rounds > 1, `${rounds} rounds`);
    await mixed(left, right, there, 1_000);
    const report = await nodes[1].report();
    assert(carried(report, path, "receivedPackets") > 500);
    assertEquals(receiveDrops(report), []);
  });
}
