import { LabHost } from "../../lab/host.ts";
import type { UnderlayHost } from "../../lab/lab.ts";
import { LabUnit } from "../../lab/unit.ts";
import { run } from "../../lab/command.ts";
import { PREFIX, writeSysconfig } from "../../e2e/guide.ts";

/** Where the first boot leaves {@linkcode stateOfHost} for the second one. */
export const STATE = "/var/lib/flanneld-vm-state";

/** Name of the container. */
export const CONTAINER = "shell";

const ENDPOINT = "http://172.28.128.100:2379";

/** Identity of the peer, which is the same host at each boot. */
const PEER_MACHINE_ID = "0123456789abcdef0123456789abcdef";

/** All that a boot has to bring back: the lease, its files, the kernel's objects, the container's address. */
const STATE_COMMANDS = `
cat /run/flannel/subnet.env /run/flannel/docker
ls /run/flannel /var/lib/flannel
ip -4 -o address show | awk '{print $2, $4}' | sort
ip -4 route show proto 102
bridge fdb show dev flannel.1 | grep dst | sed 's/^[0-9a-f:]*/MAC/'
iptables-save | grep -- '-A .*FLANNEL'
docker inspect --format '{{.NetworkSettings.IPAddress}}' ${CONTAINER}
ETCDCTL_API=3 etcdctl --endpoints=${ENDPOINT} get --prefix --keys-only ${PREFIX}/
`;

/** Returns the host's state, without what differs at each boot. */
export function stateOfHost(): Promise<string> {
  return run(["sh", "-ec", STATE_COMMANDS]);
}

/** Returns the names of the kernel's modules that are loaded. */
export async function loadedModules(): Promise<string[]> {
  return (await Deno.readTextFile("/proc/modules")).trim().split("\n")
    .map((line) => line.split(" ")[0]!);
}

/** Writes the network's config. */
export async function setConfig(backend: string): Promise<void> {
  const config = JSON.stringify({ Network: "10.20.0.0/16", Backend: { Type: backend } });
  await run([
    ...["env", "ETCDCTL_API=3", "etcdctl", `--endpoints=${ENDPOINT}`],
    ...["put", `${PREFIX}/config`, config],
  ]);
}

/** Returns the log of a unit since the boot. */
export function journal(unit: string): Promise<string> {
  return run(["journalctl", "--boot", "--quiet", "--no-pager", "--output=cat", `--unit=${unit}`]);
}

/** Pings once from the container. @throws {Error} without an answer */
export async function pingFromContainer(address: string): Promise<void> {
  await run(["docker", "exec", CONTAINER, ...`busybox ping -c 1 -W 2 ${address}`.split(" ")]);
}

/** Starts the other host of the network, with an agent, at the other end of eth1. */
export async function startPeer(stack: AsyncDisposableStack): Promise<UnderlayHost> {
  const directory = await Deno.makeTempDir();
  const address = "172.28.128.101";
  const peer = Object.assign(stack.use(await LabHost.start("host101", directory)), { address });
  await run(["ip", "link", "set", "peer", "netns", String(peer.pid), "name", "eth1"]);
  await peer.exec(["ip", "address", "add", `${address}/24`, "dev", "eth1"]);
  await peer.exec(["ip", "link", "set", "eth1", "up"]);
  await peer.writeTextFile("/etc/machine-id", `${PEER_MACHINE_ID}\n`);
  await writeSysconfig(peer, { endpoint: ENDPOINT });
  stack.use(await LabUnit.start(peer));
  return peer;
}
