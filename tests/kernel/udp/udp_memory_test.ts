/** Under overload the udp backend drops packets at its queues, and its memory does not grow. */
import { assert, assertEquals } from "@std/assert";
import { delay } from "../../lab/process.ts";
import { libc } from "../../../mod/sys/mod.ts";
import type { Namespace } from "../firewall/firewall_namespace.ts";
import { flood } from "./udp_exchange.ts";
import { DEVICE_ADDRESSES, UdpLab } from "./udp_lab.ts";

// Loaded before any test: older runtimes report a library as leaked by the test that opens it.
libc();

/** Bytes that the garbage collector may not have freed yet: less than ten for each packet of the floods. */
const SLACK = 8 << 20;
/** Seconds of a flood. */
const FLOOD = 2;

/** Packets that the device's transmit queue, which the worker reads, has dropped. */
async function droppedByDevice(host: Namespace): Promise<number> {
  const [link] = JSON.parse(await host.run("ip", "-j", "-s", "link", "show", "flannel0"));
  return link.stats64.tx.dropped;
}

/** Datagrams that the tunnel's socket has dropped; its port is 8285. */
async function droppedBySocket(host: Namespace): Promise<number> {
  const table = await host.run("cat", "/proc/net/udp");
  return Number(
    table.split("\n").find((line) => line.includes(":205D "))!.trim().split(/\s+/).at(-1),
  );
}

for (const path of ["user", "kernel"] as const) {
  Deno.test(`a flood beyond capacity drops packets and takes no memory, by ${path}`, async () => {
    await using lab = await UdpLab.make();
    for (const host of [0, 1] as const) {
      // Single datagrams fill the socket's buffer soonest.
      const options = path === "user"
        ? { socketOffload: host === 0 }
        : { kernel: { directory: lab.pins(host) } };
      await lab.start(host, options);
    }
    const [left, right] = lab.hosts;
    const receiver = lab.nodes[1]!;
    const sizes = async () => {
      const reports = await Promise.all(lab.nodes.map((node) => node.report()));
      return reports.map(({ rss }) => rss);
    };
    await flood(left, right, DEVICE_ADDRESSES[1], FLOOD);
    const before = await sizes();
    const flooding = flood(left, right, DEVICE_ADDRESSES[1], FLOOD);
    // Stops the receiver for a while, as when other processes have the processors.
    await delay(FLOOD * 500);
    Deno.kill(receiver.pid, "SIGSTOP");
    await delay(FLOOD * 250);
    Deno.kill(receiver.pid, "SIGCONT");
    await flooding;
    await flood(left, right, DEVICE_ADDRESSES[1], FLOOD);
    const after = await sizes();
    for (const [i, size] of after.entries()) {
      assert(size <= before[i]! + SLACK, `host ${i}: ${before[i]} bytes became ${size}`);
    }
    // Packets that the kernel carries wait in neither queue; how many others find it full, the sender's speed decides.
    const most = path === "user" ? 0 : 1_000;
    assertEquals(await droppedByDevice(left) > most, path === "user");
    assertEquals(await droppedBySocket(right) > most, path === "user");
  });
}
