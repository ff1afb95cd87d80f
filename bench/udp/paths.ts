import { V8_FLAGS } from "../../scripts/build/compile.ts";
import { batch } from "../../tests/kernel/udp/udp_containers.ts";
import {
  ADDRESSES,
  DEVICE_ADDRESSES,
  NETWORK,
  type UdpLab,
} from "../../tests/kernel/udp/udp_lab.ts";
import type { NodeOptions } from "../../tests/kernel/udp/udp_node.ts";

/** One way from host to host, up and running. */
export interface Path {
  /** Where host 1 is reached over it. */
  readonly address: string;
  /** The processes that carry packets, by host; none where the kernel does. */
  readonly pids: readonly number[];
}

/** Sets a path up between the hosts of a lab. */
export type PathSetup = (lab: UdpLab, stack: AsyncDisposableStack) => Promise<Path>;

/** What is compared, in the order of the table. The first is what the ratios refer to. */
export const PATHS: Readonly<Record<string, PathSetup>> = {
  "bare veth": bare,
  "vxlan": vxlan,
  "fastd null": fastd,
  "ours": (lab) => ours(lab, {}),
  "ours in the kernel": (lab) => kernel(lab),
  "kernel, 65,536 peers": (lab) => kernel(lab, 65_536),
  // As before Linux 4.18, which CentOS 7 has.
  "ours, no trains": (lab) => ours(lab, { socketOffload: false }),
  "ours, no offload": (lab) => ours(lab, { deviceOffload: false, socketOffload: false }),
};

/** Routes to the other host's lease over the wire itself, as host-gw does. */
async function bare(lab: UdpLab): Promise<Path> {
  for (const [i, host] of lab.hosts.entries()) {
    const other = 1 - i;
    await host.run("ip", "route", "add", `10.40.${other + 1}.0/24`, "via", ADDRESSES[other]!);
  }
  return { address: ADDRESSES[1], pids: [] };
}

/** The kernel's vxlan by hand. */
async function vxlan(lab: UdpLab): Promise<Path> {
  const mac = (host: number) => `02:00:00:00:00:0${host + 1}`;
  for (const [i, host] of lab.hosts.entries()) {
    const other = 1 - i;
    await batch(host, [
      `link add flannel.1 type vxlan id 1 local ${ADDRESSES[i]} dev eth1 dstport 8472 nolearning`,
      `link set flannel.1 address ${mac(i)} mtu 1450 up`,
      `addr add ${DEVICE_ADDRESSES[i]}/32 dev flannel.1`,
      `neigh add ${DEVICE_ADDRESSES[other]} lladdr ${mac(other)} dev flannel.1`,
      `route add 10.40.${other + 1}.0/24 via ${DEVICE_ADDRESSES[other]} dev flannel.1 onlink`,
    ]);
    await host.run(
      ...["bridge", "fdb", "add", mac(other), "dev", "flannel.1", "dst", ADDRESSES[other]!],
    );
  }
  return { address: DEVICE_ADDRESSES[1], pids: [] };
}

/** fastd without encryption: the nearest C proxy that is alive, a packet at a time like flannel's. */
async function fastd(lab: UdpLab, stack: AsyncDisposableStack): Promise<Path> {
  const dir = await Deno.makeTempDir({ prefix: "flanneld-bench-" });
  stack.defer(() => Deno.remove(dir, { recursive: true }));
  const keys = await Promise.all([fastdKeys(), fastdKeys()]);
  const pids: number[] = [];
  for (const [i, host] of lab.hosts.entries()) {
    const other = 1 - i;
    const own = DEVICE_ADDRESSES[i]!;
    const up = `ip addr add ${own}/32 dev fastd0 && ip link set fastd0 up && ` +
      `ip route add ${NETWORK} dev fastd0 src ${own}`;
    const peer = `key "${keys[other]!.key}"; remote ${ADDRESSES[other]}:10000;`;
    await Deno.writeTextFile(
      `${dir}/${i}.conf`,
      `mode tun; interface "fastd0"; method "null"; mtu 1471; log level warn;
bind ${ADDRESSES[i]}:10000; secret "${keys[i]!.secret}"; on up "${up}"; peer "other" { ${peer} }
`,
    );
    const process = host.spawn("fastd", "--config", `${dir}/${i}.conf`);
    pids.push(process.pid);
    stack.defer(async () => {
      process.kill("SIGTERM");
      await process.output();
    });
  }
  return { address: DEVICE_ADDRESSES[1], pids };
}

async function fastdKeys(): Promise<{ secret: string; key: string }> {
  const { stdout } = await new Deno.Command("fastd", { args: ["--generate-key"], stderr: "null" })
    .output();
  const text = new TextDecoder().decode(stdout);
  const [secret, key] = ["Secret", "Public"].map((name) =>
    new RegExp(`${name}:\\s*([0-9a-f]{64})`).exec(text)![1]!
  );
  return { secret: secret!, key: key! };
}

/** Nodes are run from source, but as the executable would be. */
const FLAGS = [`--v8-flags=${V8_FLAGS}`, "--no-code-cache"];

/** The udp data path in user space. */
async function ours(lab: UdpLab, options: Partial<NodeOptions>): Promise<Path> {
  const nodes = await lab.startBoth(options, FLAGS);
  return { address: DEVICE_ADDRESSES[1], pids: nodes.map((node) => node.pid) };
}

/** The data path in the kernel, with the one in user space behind it. */
async function kernel(lab: UdpLab, peers = 0): Promise<Path> {
  const pids: number[] = [];
  for (const host of [0, 1] as const) {
    const node = await lab.start(host, {
      kernel: { directory: lab.pins(host) },
      ...(peers > 0 && { network: "10.0.0.0/8" }),
    }, FLAGS);
    pids.push(node.pid);
    if (peers === 0) continue;
    const before = performance.now();
    await node.tell({ peers: manyPeers(peers) });
    const took = performance.now() - before;
    console.log(
      `host ${host} took ${peers} peers, in user space and kernel, in ${took.toFixed(0)} ms`,
    );
  }
  return { address: DEVICE_ADDRESSES[1], pids };
}

/** Leases from 10.0.0.0/24 on, but for those of the lab's own hosts and their neighbours. */
function manyPeers(count: number): Record<string, string> {
  const peers: Record<string, string> = {};
  for (let i = 0; i < count; i++) {
    if (i >> 8 !== 40) peers[`10.${i >> 8}.${i & 255}.0/24`] = `100.64.${i >> 8}.${i & 255}`;
  }
  return peers;
}
