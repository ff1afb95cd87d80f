/** What must hold whichever path carries packets: each test runs in user space and in the kernel. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { libc } from "../../mod/sys/mod.ts";
import type { Namespace } from "./firewall_namespace.ts";
import { flood, mixed, transfer } from "./udp_exchange.ts";
import { DEVICE_ADDRESSES, type NodeReport, UdpLab, type UdpNode } from "./udp_lab.ts";

// Before any test: older runtimes take the library for a leak of the test that opens it.
libc();

const [here, there] = DEVICE_ADDRESSES;

type Path = "user" | "kernel";
const PATHS: readonly Path[] = ["user", "kernel"];

async function startBoth(
  lab: UdpLab,
  path: Path,
  flags: readonly string[] = [],
): Promise<[UdpNode, UdpNode]> {
  const start = (host: 0 | 1) =>
    lab.start(host, path === "kernel" ? { kernel: { directory: lab.pins(host) } } : {}, flags);
  return [await start(0), await start(1)];
}

/** Packets of a direction by the path under test. */
function carried(report: NodeReport, path: Path, direction: "sentPackets" | "receivedPackets") {
  return path === "user"
    ? report.counters[direction]
    : report.kernel!.traffic.reduce((sum, traffic) => sum + traffic[direction], 0);
}

/** Reasons for which either part has dropped what arrived. */
function receiveDrops({ counters, kernel }: NodeReport): [reason: string, count: number][] {
  return [...Object.entries(counters), ...Object.entries(kernel?.drops ?? {})]
    .filter(([name, count]) => name.startsWith("dropReceive") && count > 0);
}

/** How many of some pings of that size were answered. */
async function answered(from: Namespace, to: string, count: number, size: number): Promise<number> {
  const args = ["-c", String(count), "-i", "0.1", "-W", "1", "-s", String(size), to];
  const { stdout } = await from.spawn("busybox", "ping", ...args).output();
  return Number(/(\d+) packets received/.exec(new TextDecoder().decode(stdout))![1]);
}

/** Lets peers come and go on both hosts, over and over, while something runs. */
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
      await Promise.all(nodes.map((node) => node.tell({ peers })));
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
  Deno.test(`large packets get through a path that is narrower than the interface, or their sender is told, both ways, by ${path}`, async () => {
    await using lab = await UdpLab.makeNarrow(1300);
    const nodes = await startBoth(lab, path);
    const [left, right] = lab.hosts;
    for (const [from, to] of [[left, there], [right, here]] as const) {
      const answers = await answered(from, to, 6, 1400);
      const route = await from.run("ip", "route", "get", to);
      // One is lost on the way, one refused with ICMP 3/4, and that at each end; then packets are cut.
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

  Deno.test(`a flood of small datagrams passes by ${path}, and none that arrives is refused`, async () => {
    await using lab = await UdpLab.make();
    const [a, b] = await startBoth(lab, path);
    await flood(lab.hosts[0], lab.hosts[1], there, 1);
    const [sender, receiver] = [await a.report(), await b.report()];
    const received = carried(receiver, path, "receivedPackets");
    assert(received > 5_000, `${received} packets`);
    assert(carried(sender, path, "sentPackets") >= received);
    assertEquals(receiveDrops(receiver), []);
  });

  Deno.test(`1 GB arrives unharmed while thousands of peers come and go, by ${path}`, async () => {
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
