import { assert, assertEquals, assertMatch } from "@std/assert";
import { type DockerVersion, type LabContainer, LabDocker } from "../lab/docker.ts";
import { GuideCluster } from "../lab/guide_cluster.ts";
import type { UnderlayHost } from "../lab/lab.ts";
import type { EtcdApi } from "../lab/etcd/lab_etcd.ts";
import type { UnitOptions } from "../lab/unit.ts";
import { type GuideBackend, leaseKeys, PREFIX, standInForDevice, subnetEnv } from "./guide.ts";

/** One way through the guide. */
export interface GuideCase extends Pick<UnitOptions, "enter"> {
  readonly api: EtcdApi;
  readonly version: DockerVersion;
  readonly backend: GuideBackend;
  /** FLANNEL_OPTIONS of every host; with `-ip-masq` Docker does not masquerade. @default "-iface=eth1" */
  readonly options?: string;
  /** Warnings and errors in an agent's log, line by line. @default none */
  readonly warnings?: RegExp;
}

/** Follows the guide to its nine container pings, and TCP; examines leases and files on the way. */
export async function followGuide(
  { api, version, backend, options = "-iface=eth1", warnings = /^$/, ...unit }: GuideCase,
): Promise<void> {
  const { config, mtu } = backend;
  const ipMasq = options.includes("-ip-masq");
  await using cluster = await GuideCluster.start({ hosts: 3, api, config, options });
  await using stack = new AsyncDisposableStack();
  const { hosts, etcd } = cluster;

  const units = await cluster.startAgents(unit);
  for (const unit of units) {
    assertMatch(unit.process.output, /Using interface with name eth1 and address 172\.28\.128\./);
    assertMatch(unit.process.output, /Lease acquired: 10\.20\.\d+\.0\/24/);
  }

  const keys = await leaseKeys(etcd, api);
  assertEquals(keys.length, 3);
  for (const host of hosts) {
    const env = await subnetEnv(host);
    const subnet = env.FLANNEL_SUBNET!;
    assertMatch(subnet, /^10\.20\.\d{1,3}\.1\/24$/);
    assertEquals(
      await host.readTextFile("/run/flannel/subnet.env"),
      `FLANNEL_NETWORK=10.20.0.0/16\nFLANNEL_SUBNET=${subnet}\nFLANNEL_MTU=${mtu}\n` +
        `FLANNEL_IPMASQ=${ipMasq}\n`,
    );
    assertEquals(
      await host.readTextFile("/run/flannel/docker"),
      `DOCKER_OPT_BIP="--bip=${subnet}"\nDOCKER_OPT_IPMASQ="--ip-masq=${!ipMasq}"\n` +
        `DOCKER_OPT_MTU="--mtu=${mtu}"\n` +
        `DOCKER_NETWORK_OPTIONS=" --bip=${subnet} --ip-masq=${!ipMasq} --mtu=${mtu}"\n`,
    );
    const key = subnet.replace(/\.1\/24$/, ".0-24");
    assert(keys.includes(key), `${key} is not among ${keys}`);
    assertEquals(
      await etcd.get(api, `${PREFIX}/subnets/${key}`),
      await leaseValue(host, api, backend),
    );
    await standInForDevice(host, backend);
  }
  await cluster.untilFullMesh();

  const containers = await Promise.all(hosts.map(async (host) => {
    const docker = stack.use(await LabDocker.start(host, { version }));
    return await docker.run("shell");
  }));
  for (const [i, from] of containers.entries()) {
    for (const [j, to] of containers.entries()) {
      const address = await to.address();
      assertEquals(
        await from.ping(address),
        1,
        `${hosts[i]!.name} does not reach ${address} on ${hosts[j]!.name}`,
      );
    }
  }
  await transfer(containers[0]!, containers[1]!);
  for (const { process } of units) {
    assertMatch((process.output.match(/^[WEF]\d{4} .*/gm) ?? []).join("\n"), warnings);
  }
}

/**
 * Moves 32 MB by TCP from one container to another, and compares. BusyBox's nc ends when the other end's input
 * does, hence one that stays open.
 */
async function transfer(from: LabContainer, to: LabContainer): Promise<void> {
  const address = await to.address();
  const [received, sent] = await Promise.all([
    to.exec([
      "sh",
      "-c",
      "mkfifo open; sleep 60 > open & timeout 30 nc -l -p 5000 < open | md5sum; kill $!",
    ]),
    from.exec([
      ...["sh", "-c"],
      `head -c 32000000 /dev/urandom > data; md5sum < data; for i in 1 2 3 4 5; do ` +
      `timeout 30 nc ${address} 5000 < data && break; sleep 0.2; done`,
    ]),
  ]);
  assertEquals(received, sent);
}

/** Returns the value that flannel of the API's time writes for a host, byte for byte. */
async function leaseValue(
  host: UnderlayHost,
  api: EtcdApi,
  { type, device }: GuideBackend,
): Promise<string> {
  const publicIP = `"PublicIP":"${host.address}"` + (api === "v3" ? ',"PublicIPv6":null' : "");
  if (type === "udp") return `{${publicIP}}`;
  if (type === "host-gw") return `{${publicIP},"BackendType":"host-gw"}`;
  const [link] = JSON.parse(await host.exec(["ip", "-j", "link", "show", device!]));
  const vni = api === "v3" ? '"VNI":1,' : "";
  return `{${publicIP},"BackendType":"vxlan","BackendData":{${vni}"VtepMAC":"${link.address}"}}`;
}
