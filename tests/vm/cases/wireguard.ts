/**
 * Hosts whose packets go through WireGuard, on a kernel that has it: `deno task test:vm`.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { run } from "../../lab/command.ts";
import { GuideCluster } from "../../lab/guide_cluster.ts";
import type { UnderlayHost } from "../../lab/lab.ts";
import { FLANNELD } from "../../lab/unit.ts";
import { subnetEnv } from "../../e2e/guide.ts";

/** WireGuard's usual one. */
const PORT = 51_820;

/** MTU of a network on wg0, which has 1,420 bytes. */
const MTUS = { vxlan: "1370", udp: "1392", ipip: "1400" };

await run(["modprobe", "-a", "wireguard", "ipip"]);

for (const [type, mtu] of Object.entries(MTUS)) {
  Deno.test(`${type}: agents with -iface=wg0 carry full packets by WireGuard alone`, async () => {
    await using cluster = await GuideCluster.start({
      ...{ hosts: 2, api: "v3", options: "-iface=wg0" },
      config: JSON.stringify({ Network: "10.20.0.0/16", Backend: { Type: type } }),
    });
    await joinByWireguard(cluster.hosts);
    await cluster.startAgents();
    await cluster.untilFullMesh();
    for (const host of cluster.hosts) {
      assertEquals((await subnetEnv(host)).FLANNEL_MTU, mtu);
      const { stdout } = await host.run([FLANNELD, "doctor", "-json"]);
      const { checks } = JSON.parse(stdout) as { checks: { id: string; summary: string }[] };
      const { summary } = checks.find(({ id }) => id === "path-mtu")!;
      assertEquals(summary, `${mtu} bytes, to 1 of them`);
    }
  });
}

/** Gives each host a wg0, and has eth1 drop all but WireGuard's datagrams and etcd's connections. */
async function joinByWireguard(hosts: readonly UnderlayHost[]): Promise<void> {
  const keys: string[] = [];
  for (const host of hosts) {
    const key = "umask 077; wg genkey >/run/wg.key; wg pubkey </run/wg.key";
    keys.push((await host.exec(["sh", "-ec", key])).trim());
  }
  for (const [i, host] of hosts.entries()) {
    const peers = hosts.flatMap(({ address }, j) =>
      i === j ? [] : [
        `peer ${keys[j]} allowed-ips 10.99.0.${j + 1}/32 endpoint ${address}:${PORT}`,
      ]
    );
    const script = `
      ip link add wg0 type wireguard
      wg set wg0 listen-port ${PORT} private-key /run/wg.key ${peers.join(" ")}
      ip address add 10.99.0.${i + 1}/24 dev wg0
      ip link set wg0 up
      iptables -A INPUT -i eth1 -p tcp -j ACCEPT
      iptables -A INPUT -i eth1 -p udp --dport ${PORT} -j ACCEPT
      iptables -A INPUT -i eth1 -j DROP
    `;
    await host.exec(["sh", "-ec", script]);
  }
}
