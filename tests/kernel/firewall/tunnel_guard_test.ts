/** Drops of packets forged into or out of a tunnel: SECURITY.md's claims. */
import { assert, assertEquals } from "@std/assert";
import type { FirewallSpec } from "../../../mod/firewall/mod.ts";
import { sendDatagrams } from "../../lab/send_datagram.ts";
import { open, test, type Variant } from "./firewall_lab.ts";
import { arrives, withNeighbours } from "./firewall_neighbours.ts";
import type { Namespace } from "./firewall_namespace.ts";

const PORT = 8472;
const CONTAINER = "10.20.93.2";
const PEER = "10.20.7.2";
const OUTSIDE = "192.0.2.2";
/** Sources that a packet of a peer may be given. */
const FORGED = { outside: "198.51.100.7", own: "10.20.93.77", peer: PEER };

type Mode = "iptables" | "nftables";

/** Dropped packets, by the rules' own counters, in their order. */
async function dropped(host: Namespace, variant: Variant, mode: Mode): Promise<number[]> {
  if (mode === "nftables") {
    const chain = await host.run("nft", "list", "chain", "ip", "flannel-ipv4", "prerouting");
    return [...chain.matchAll(/counter packets (\d+)/g)].map(([, count]) => Number(count));
  }
  const save = await host.run(`iptables-${variant}-save`, "-c", "-t", "raw");
  return [...save.matchAll(/^\[(\d+):\d+\] -A FLANNEL-RAW .*-j DROP$/gm)]
    .map(([, count]) => Number(count));
}

async function acceptAnySource(host: Namespace): Promise<void> {
  // Forged sources are the rules' to drop here, not the kernel's.
  for (const name of ["all", "flannel.1"]) {
    await host.run("sysctl", "-qw", `net/ipv4/conf/${name}/rp_filter=0`);
  }
}

for (const mode of ["iptables", "nftables"] as const) {
  test(
    `Firewall by ${mode} keeps containers from the tunnels of hosts, and nobody else`,
    (host, variant) =>
      withNeighbours(host, async ({ container, peer, outside }) => {
        const toHosts = { address: OUTSIDE, port: PORT };
        const without = await open(host, {}, undefined, { mode });
        await without.ensure();
        // Masqueraded: the other host takes it for one of this host's.
        assert(await arrives(container, outside, toHosts));

        const guard = { port: PORT, isStrict: () => false };
        const firewall = await open(host, { guard }, undefined, { mode });
        assertEquals(await firewall.ensure(), "applied");
        assertEquals(await firewall.ensure(), "unchanged");
        assert(firewall.isGuarding);
        assertEquals(await arrives(container, outside, toHosts), false);
        assertEquals(await dropped(host, variant, mode), [1]);
        // To this host's own tunnel as well.
        await container.run(...sendDatagrams({ address: "192.0.2.1", port: PORT }));
        assertEquals(await dropped(host, variant, mode), [2]);

        assert(await arrives(container, outside, { ...toHosts, port: PORT + 1 }), "another port");
        assert(
          await arrives(container, peer, { address: PEER, port: PORT }),
          "a tunnel inside this one",
        );
        assert(
          await arrives(host, outside, { ...toHosts }),
          "the host's own datagrams",
        );
        assert(
          await arrives(outside, container, { address: CONTAINER, port: PORT }),
          "from outside",
        );

        // Somebody flushes it.
        const flush = mode === "nftables"
          ? ["nft", "flush", "chain", "ip", "flannel-ipv4", "prerouting"]
          : [`iptables-${variant}`, "-t", "raw", "-F", "FLANNEL-RAW"];
        await host.run(...flush);
        assert(await arrives(container, outside, toHosts));
        const lines = await firewall.check();
        assert(lines.some((line) => line.startsWith("+") && /DROP|drop/.test(line)), String(lines));
        assertEquals(await firewall.ensure(), "repaired");
        assertEquals(await arrives(container, outside, toHosts), false);

        await firewall.remove();
        assertEquals(
          /FLANNEL|flannel/.test(await host.run(`iptables-${variant}-save`)),
          true,
          "the operator's rule",
        );
        assert(
          await host.run(`iptables-${variant}-save`).then((text) => !text.includes(":FLANNEL")),
        );
      }),
  );

  test(
    `Firewall by ${mode} drops forged sources that come out of a vxlan device`,
    (host, variant) =>
      withNeighbours(host, async ({ container, peer }) => {
        await acceptAnySource(host);
        for (const source of [FORGED.outside, FORGED.own]) {
          await peer.run("ip", "address", "add", `${source}/32`, "dev", "lo");
        }
        const from = (source: string) =>
          arrives(peer, container, { source, address: CONTAINER, port: 5000 });
        const accepted = async () => ({
          outside: await from(FORGED.outside),
          own: await from(FORGED.own),
          peer: await from(FORGED.peer),
        });
        const without = await open(host, {}, undefined, { mode });
        await without.ensure();
        assertEquals(await accepted(), { outside: true, own: true, peer: true });

        let isStrict = false;
        const guard: FirewallSpec["guard"] = {
          ...{ port: PORT, device: "flannel.1", isStrict: () => isStrict },
        };
        const ingress = { device: "flannel.1" };
        const firewall = await open(host, { guard, ingress }, undefined, { mode });
        assertEquals(await firewall.ensure(), "applied");
        assertEquals(await accepted(), { outside: true, own: false, peer: true });
        assertEquals(await dropped(host, variant, mode), [0, 1]);

        // A wish of flanneld's own is no damage.
        isStrict = true;
        assertEquals(await firewall.ensure(), "applied");
        assertEquals(await accepted(), { outside: false, own: false, peer: true });
        assertEquals(await dropped(host, variant, mode), [0, 1, 1]);
        assertEquals(await firewall.ensure(), "unchanged");
        isStrict = false;
        assertEquals(await firewall.ensure(), "applied");
        assertEquals(await accepted(), { outside: true, own: false, peer: true });
      }),
  );
}

test("rp_filter=1 on the bridge drops what a container sends with an outer source that is not its own", (host) =>
  withNeighbours(host, async ({ container, outside }) => {
    const guard = { port: PORT, isStrict: () => true };
    const firewall = await open(host, { guard }, undefined, { mode: "iptables" });
    await firewall.ensure();
    // As CAP_NET_RAW can send it.
    const source = "203.0.113.9";
    await container.run("ip", "address", "add", `${source}/32`, "dev", "lo");
    const forged = { address: OUTSIDE, port: PORT, source };
    for (const name of ["all", "docker0"]) {
      await host.run("sysctl", "-qw", `net.ipv4.conf.${name}.rp_filter=0`);
    }
    assert(await arrives(container, outside, forged), "SECURITY.md: what remains");
    await host.run("sysctl", "-qw", "net.ipv4.conf.docker0.rp_filter=1");
    assertEquals(await arrives(container, outside, forged), false);
  }));

test(
  "A rule of the operator's keeps containers of other networks from the tunnels of hosts",
  (host, variant) =>
    withNeighbours(host, async ({ container, outside }) => {
      const guard = { port: PORT, isStrict: () => true };
      const firewall = await open(host, { guard }, undefined, { mode: "iptables" });
      await firewall.ensure();
      // As on a bridge of Docker's own range.
      const [network, source] = ["172.30.0.0/16", "172.30.0.2"];
      await container.run("ip", "address", "add", `${source}/32`, "dev", "lo");
      await host.run("ip", "route", "add", source, "via", CONTAINER);
      const iptables = (...rule: string[]) => host.run(`iptables-${variant}`, ...rule);
      await iptables("-t", "nat", "-A", "POSTROUTING", "-s", network, "-j", "MASQUERADE");
      const datagram = { address: OUTSIDE, port: PORT, source };
      assert(await arrives(container, outside, datagram), "SECURITY.md: what remains");
      const rule = ["-s", network, "-p", "udp", "--dport", String(PORT), "-j", "DROP"];
      await iptables("-I", "FORWARD", ...rule);
      assertEquals(await arrives(container, outside, datagram), false);
    }),
);

test(
  "Firewall keeps the guards of two networks apart",
  (host, variant) =>
    withNeighbours(host, async ({ container, outside }) => {
      const guard = (port: number) => ({ port, isStrict: () => false });
      const one = await open(host, { guard: guard(PORT) }, undefined, { mode: "iptables" });
      const spec = { tag: "blue", guard: guard(PORT + 1) };
      const other = await open(host, spec, undefined, { mode: "iptables" });
      await one.ensure();
      await other.ensure();
      assertEquals([await one.ensure(), await other.ensure()], ["unchanged", "unchanged"]);
      const both = [PORT, PORT + 1].map((port) => ({ address: OUTSIDE, port }));
      for (const probe of both) assertEquals(await arrives(container, outside, probe), false);
      await other.remove();
      assertEquals(await one.ensure(), "unchanged");
      const saved = await host.run(`iptables-${variant}-save`, "-t", "raw");
      assertEquals(saved.includes("FLANNEL-RAW-blue"), false, saved);
      assertEquals(await arrives(container, outside, both[0]!), false);
      assert(await arrives(container, outside, both[1]!));
    }),
);
