import { V8_FLAGS } from "../../scripts/build/compile.ts";
import { batch } from "../../tests/kernel/udp/udp_containers.ts";
import {
  ADDRESSES,
  DEVICE_ADDRESSES,
  NETWORK,
  type UdpLab,
} from "../../tests/kernel/udp/udp_lab.ts";
import type { NodeOptions } from "../../tests/kernel/udp/udp_node.ts";

/** A configured path between the hosts. */
export interface Path {
  /** Address of host 1 on the path. */
  readonly address: string;
  /** Processes that carry packets, by host; none where the kernel does. */
  readonly pids: readonly number[];
}

/** Sets up a path between the hosts of a lab. */
export type PathSetup = (lab: UdpLab, stack: AsyncDisposableStack) => Promise<Path>;

/** The compared paths, in the order of the table. Ratios are to the first one. */
export const PATHS: Readonly<Record<string, PathSetup>> = {
  "bare veth": bare,
  "vxlan": vxlan,
  "fastd null": fastd,
  "user space": (lab) => userSpace(lab, {}),
  "kernel": (lab) => kernel(lab),
  "kernel, 65,536 peers": (lab) => kernel(lab, 65_536),
  // As before Linux 4.18, which CentOS 7 has.
  "user, no UDP GSO": (lab) => userSpace(lab, { socketOffload: false }),
  "user, no offload": (lab) => userSpace(lab, { deviceOffload: false, socketOffload: false }),
};

/** Routes to the other host's lease without a tunnel, as host-gw does. */
async function bare(lab: UdpLab): Promise<Path> {
  for (const [i, host] of lab.hosts.entries()) {
    const other = 1 - i;
    await host.run("ip", "route", "add", `10.40.${other + 1}.0/24`, "via", ADDRESSES[other]!);
  }
  return { address: ADDRESSES[1], pids: [] };
}

/** The kernel's vxlan, configured with iproute2. */
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

/** fastd without encryption: a maintained C proxy that carries one packet at a time, as flannel's does. */
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

/** Runtime flags of the executable, for nodes that run from source. */
const FLAGS = [`--v8-flags=${V8_FLAGS}`, "--no-code-cache"];

/** The user-space path. */
async function userSpace(lab: UdpLab, options: Partial<NodeOptions>): Promise<Path> {
  const nodes = await lab.startBoth(options, FLAGS);
  return { address: DEVICE_ADDRESSES[1], pids: nodes.map((node) => node.pid) };
}

/** The kernel path, with the user-space path behind it. */
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
    await node.send({ peers: manyPeers(peers) });
    const took = performance.now() - before;
    console.log(
      `host ${host}: added ${peers} peers to user space and kernel in ${took.toFixed(0)} ms`,
    );
  }
  return { address: DEVICE_ADDRESSES[1], pids };
}

/** Leases from 10.0.0.0/24 on, without 10.40.0.0/16, which has those of the lab's hosts. */
function manyPeers(count: number): Record<string, string> {
  const peers: Record<string, string> = {};
  for (let i = 0; i < count; i++) {
    if (i >> 8 !== 40) peers[`10.${i >> 8}.${i & 255}.0/24`] = `100.64.${i >> 8}.${i & 255}`;
  }
  return peers;
}
