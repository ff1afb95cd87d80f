/** The guide's cluster, shared by the end-to-end tests. */
import type { EtcdApi, LabEtcd } from "../lab/etcd/lab_etcd.ts";
import type { UnderlayHost } from "../lab/lab.ts";

/** The guide's prefix. */
export const PREFIX = "/flannel/network";

/** The guide's vxlan config. */
export const CONFIG = '{"Network": "10.20.0.0/16", "SubnetLen": 24, "Backend": {"Type": "vxlan"}}';

/**
 * A port that nobody listens on in any lab. Not a low one: newer runtimes contact none of the Fetch
 * standard's "bad ports" (1 and 9 among them), and report that instead of a refused connection.
 */
export const CLOSED_PORT = 4002;

/** Properties of a backend's network on a host. */
export interface GuideBackend {
  readonly type: "vxlan" | "udp" | "host-gw";
  /** The text that is written to etcd. */
  readonly config: string;
  /** Absent where packets leave by the hosts' own interface. */
  readonly device?: string;
  /** Bytes, on an interface of 1500. */
  readonly mtu: number;
}

/** The guide's two ways, the default and vxlan; and host-gw. */
export const BACKENDS: readonly GuideBackend[] = [
  { type: "vxlan", config: CONFIG, device: "flannel.1", mtu: 1450 },
  { type: "udp", config: '{"Network": "10.20.0.0/16"}', device: "flannel0", mtu: 1472 },
  {
    type: "host-gw",
    config: '{"Network": "10.20.0.0/16", "Backend": {"Type": "host-gw"}}',
    mtu: 1500,
  },
];

/** Writes the guide's /etc/sysconfig/flanneld. */
export async function writeSysconfig(
  host: UnderlayHost,
  etcd: Pick<LabEtcd, "endpoint">,
  { prefix = PREFIX, options = "-iface=eth1" }: { prefix?: string; options?: string } = {},
): Promise<void> {
  await host.writeTextFile(
    "/etc/sysconfig/flanneld",
    `FLANNEL_ETCD_ENDPOINTS="${etcd.endpoint}"\n` +
      `FLANNEL_ETCD_PREFIX="${prefix}"\n` +
      `FLANNEL_OPTIONS="${options}"\n`,
  );
}

/** The variables of a host's subnet.env. */
export async function subnetEnv(host: UnderlayHost): Promise<Record<string, string>> {
  const text = await host.readTextFile("/run/flannel/subnet.env");
  return Object.fromEntries(text.trim().split("\n").map((line) => line.split("=", 2)));
}

/** A host's leased subnet: `10.20.93.0/24`. */
export async function subnetOf(host: UnderlayHost): Promise<string> {
  const { FLANNEL_SUBNET } = await subnetEnv(host);
  return FLANNEL_SUBNET!.replace(/\.1\//, ".0/");
}

/**
 * Gives a host the base address of its lease for a backend without a device. It is the address that
 * {@linkcode isFullMesh} pings.
 */
export async function standInForDevice(
  host: UnderlayHost,
  { device }: GuideBackend,
): Promise<void> {
  if (device !== undefined) return;
  await host.exec(["ip", "addr", "add", `${await overlayAddress(host)}/32`, "dev", "lo"]);
}

/** A host's address on its flannel device, or what stands in for it. */
export async function overlayAddress(host: UnderlayHost): Promise<string> {
  return (await subnetOf(host)).split("/")[0]!;
}

/** Gives a host a container in namespace `container`, as Docker on the host's subnet does. @returns its address */
export async function addContainer(host: UnderlayHost): Promise<string> {
  const base = (await overlayAddress(host)).replace(/0$/, "");
  const lines = [
    "link add docker0 type bridge",
    `addr add ${base}1/24 dev docker0`,
    "link set docker0 up",
    "netns add container",
    "link add veth0 type veth peer name eth0 netns container",
    "link set veth0 master docker0 up",
    "-n container link set lo up",
    `-n container addr add ${base}2/24 dev eth0`,
    "-n container link set eth0 up",
    `-n container route add default via ${base}1`,
  ];
  for (const line of lines) await host.exec(["ip", ...line.split(" ")]);
  await host.exec(["sysctl", "-qw", "net.ipv4.ip_forward=1"]);
  return `${base}2`;
}

/** Waits until a condition holds; looks less often the longer it takes, since a look may be a hundred pings. */
export async function eventually(
  what: string,
  condition: () => Promise<boolean>,
  timeout = 60_000,
): Promise<void> {
  const until = Date.now() + timeout;
  for (let pause = 50; !await condition(); pause = Math.min(pause * 1.5, 500)) {
    if (Date.now() > until) throw new Error(`not within ${timeout} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

/** Lease keys, without their directory. */
export async function leaseKeys(etcd: LabEtcd, api: EtcdApi): Promise<string[]> {
  return (await etcd.keys(api, `${PREFIX}/subnets`)).map((key) => key.split("/").at(-1)!);
}

/** True when every host reaches every other over the overlay. */
export async function isFullMesh(hosts: readonly UnderlayHost[]): Promise<boolean> {
  const addresses = await Promise.all(hosts.map(overlayAddress));
  const pairs = hosts.flatMap((from) => addresses.map((to) => ({ from, to })));
  const answers = await Promise.all(pairs.map(({ from, to }) => from.ping(to)));
  return answers.every((count) => count === 1);
}
