import type { Namespace } from "../../tests/kernel/firewall/firewall_namespace.ts";
import { addContainers, CONTAINER_ADDRESSES } from "../../tests/kernel/udp/udp_containers.ts";
import { UdpLab } from "../../tests/kernel/udp/udp_lab.ts";
import type { Path, PathSetup } from "./paths.ts";
import { setTxOffload } from "./wire.ts";

/** Measured values of one path. */
export interface Measured {
  /** Gbit/s received by one stream, and by eight. */
  readonly tcp1: number;
  readonly tcp8: number;
  /** Gbit/s of one stream between containers, through a bridge on each host. */
  readonly containers: number;
  /** Gbit/s of one stream without tx offloads of the wire. */
  readonly wire: number;
  /** Thousands of packets received a second, of 64 and of 1400 bytes. */
  readonly udp64: number;
  readonly udp1400: number;
  /** Mean round-trip time in microseconds. */
  readonly ping: number;
  /** CPU seconds of both ends' processes for a gigabyte of TCP. */
  readonly cpu: number;
  /** Resident set of the larger process under load, MB. */
  readonly rss: number;
}

/** Seconds of each run. */
const SECONDS = 2;

/** A path in a lab of its own. */
export interface Track {
  readonly lab: UdpLab;
  readonly path: Path;
  /** Address of host 1's container. */
  readonly container: string;
  readonly containers: readonly Namespace[];
}

/** Sets up a path in a lab of its own. */
export async function layOut(setup: PathSetup, stack: AsyncDisposableStack): Promise<Track> {
  const lab = stack.use(await UdpLab.make());
  const path = await setup(lab, stack);
  await reachable(lab, path.address);
  const containers = await addContainers(lab.hosts, stack);
  return { lab, path, containers, container: CONTAINER_ADDRESSES[1] };
}

/** Measurements of a {@linkcode Track}, in order. */
export const MEASUREMENTS: readonly ((track: Track) => Promise<Partial<Measured>>)[] = [
  async ({ lab: { hosts: [left, right] }, path }) => {
    const before = await processorSeconds(path);
    const one = await tcp(left, right, path.address, 1);
    const cpu = (await processorSeconds(path) - before) / one.gigabytes;
    return { tcp1: one.gigabits, cpu, rss: await residentSet(path) };
  },
  async ({ lab: { hosts: [left, right] }, path }) => ({
    tcp8: (await tcp(left, right, path.address, 8)).gigabits,
  }),
  async ({ lab: { hosts: [left, right] }, path }) => ({
    udp64: await udp(left, right, path.address, 64),
  }),
  async ({ lab: { hosts: [left, right] }, path }) => ({
    udp1400: await udp(left, right, path.address, 1400),
  }),
  async ({ lab, path }) => ({ ping: await pingMean(lab.hosts[0], path.address) }),
  async ({ containers: [left, right], container }) => ({
    containers: (await tcp(left!, right!, container, 1)).gigabits,
  }),
  async ({ lab: { hosts }, path }) => {
    for (const host of hosts) setTxOffload(host, "eth1", false);
    const { gigabits } = await tcp(...hosts, path.address, 1);
    for (const host of hosts) setTxOffload(host, "eth1", true);
    return { wire: gigabits };
  },
];

/** Waits until the other host answers a ping. */
async function reachable(lab: UdpLab, address: string): Promise<void> {
  for (let tries = 0; tries < 50; tries++) {
    if (await lab.hosts[0].succeeds("busybox", "ping", "-c", "1", "-W", "1", address)) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`${address} does not answer`);
}

interface IperfEnd {
  readonly sum_received: { readonly bytes: number; readonly bits_per_second: number };
  readonly sum: {
    readonly packets: number;
    readonly lost_packets: number;
    readonly seconds: number;
  };
}

async function iperf(
  from: Namespace,
  to: Namespace,
  address: string,
  ...args: string[]
): Promise<IperfEnd> {
  const server = to.spawn("iperf3", "-s", "-1");
  for (let tries = 0; tries < 100; tries++) {
    if ((await to.run("ss", "-Hltn", "sport = :5201")).trim() !== "") break;
  }
  const text = await from.run("iperf3", "-c", address, "-t", String(SECONDS), "-J", ...args);
  await server.output();
  return JSON.parse(text).end;
}

async function tcp(from: Namespace, to: Namespace, address: string, streams: number) {
  const { sum_received: sum } = await iperf(from, to, address, "-P", String(streams));
  return { gigabits: sum.bits_per_second / 1e9, gigabytes: sum.bytes / 1e9 };
}

async function udp(from: Namespace, to: Namespace, address: string, size: number) {
  const { sum } = await iperf(from, to, address, "-u", "-b", "0", "-l", String(size));
  return (sum.packets - sum.lost_packets) / sum.seconds / 1000;
}

async function pingMean(from: Namespace, address: string): Promise<number> {
  const text = await from.run("busybox", "ping", "-q", "-c", "200", "-i", "0.01", address);
  return Number(/= [\d.]+\/([\d.]+)\//.exec(text)![1]) * 1000;
}

async function processorSeconds({ pids }: Path): Promise<number> {
  let ticks = 0;
  for (const pid of pids) {
    // proc(5): utime and stime are the 14th and 15th field; the 2nd may hold spaces.
    const fields = (await Deno.readTextFile(`/proc/${pid}/stat`)).split(") ")[1]!.split(" ");
    ticks += Number(fields[11]) + Number(fields[12]);
  }
  return ticks / 100;
}

async function residentSet({ pids }: Path): Promise<number> {
  const sizes = await Promise.all(pids.map(async (pid) => {
    const status = await Deno.readTextFile(`/proc/${pid}/status`);
    return Number(/VmRSS:\s+(\d+)/.exec(status)![1]) / 1000;
  }));
  return Math.max(0, ...sizes);
}
