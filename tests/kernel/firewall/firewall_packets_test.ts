import { assertEquals } from "@std/assert";
import { open, test } from "./firewall_lab.ts";
import { Namespace } from "./firewall_namespace.ts";
import { type Neighbours, sourceSeen, withNeighbours } from "./firewall_neighbours.ts";

/** Sources that the packets' targets see without rules of flanneld, on a host whose FORWARD drops. */
const DROPPED = {
  // Docker's own rule accepts what leaves docker0, but no reply comes back.
  "container to peer": "10.20.93.2, unanswered",
  "peer to container": "nothing",
  "container to outside": "10.20.93.2, unanswered",
  "outside to container": "nothing",
  "outside to peer": "nothing",
  "host to peer": "10.20.7.1",
};

/** With forwarding accepted, and no more. */
const FORWARDED = {
  "container to peer": "10.20.93.2",
  "peer to container": "10.20.7.2",
  "container to outside": "10.20.93.2",
  "outside to container": "192.0.2.2",
  "outside to peer": "192.0.2.2",
  "host to peer": "10.20.7.1",
};

/** With everything. */
const MASQUERADED = {
  "container to peer": "10.20.93.2",
  "peer to container": "10.20.7.2",
  "container to outside": "192.0.2.1",
  "outside to container": "192.0.2.2",
  // Newer flannel's nftables rules leave this one as it is: the reply goes back another way.
  "outside to peer": "10.20.7.1",
  "host to peer": "10.20.7.1",
};

for (const mode of ["iptables", "nftables"] as const) {
  test(`Firewall by ${mode} lets packets pass a FORWARD that drops and masquerades at the edge`, (host) =>
    withNeighbours(host, async (neighbours) => {
      const sources = () => sourcesSeen(host, neighbours);
      assertEquals(await sources(), DROPPED);

      const forward = await open(host, { ipMasq: false }, undefined, { mode });
      await forward.ensure();
      assertEquals(await sources(), FORWARDED);

      const masquerade = await open(host, {}, undefined, { mode });
      await masquerade.ensure();
      assertEquals(await sources(), MASQUERADED);

      const other = mode === "iptables" ? "nftables" : "iptables";
      const switched = await open(host, {}, undefined, { mode: other });
      await switched.ensure();
      assertEquals(await sources(), MASQUERADED);

      await switched.remove();
      assertEquals(await sources(), DROPPED);
    }));
}

test(
  "Firewall by nftables alone does not save what another table drops",
  (host, variant) =>
    withNeighbours(host, async ({ container, peer }) => {
      const firewall = await open(host, {}, undefined, { mode: "nftables" });
      await firewall.ensure();
      assertEquals(await sourceSeen(peer, container, "10.20.93.2", 100), "10.20.7.2");
      await host.run(`iptables-${variant}`, "-F", "FLANNEL-FWD");
      assertEquals(await sourceSeen(peer, container, "10.20.93.2", 101), "nothing");
      assertEquals(await firewall.ensure(), "repaired");
      assertEquals(await sourceSeen(peer, container, "10.20.93.2", 102), "10.20.7.2");
    }),
);

test("Firewall by nftables leaves alone what kube-proxy has marked, whatever else it is marked with", (host) =>
  withNeighbours(host, async ({ container, outside }) => {
    const firewall = await open(host, {}, undefined, { mode: "nftables" });
    await firewall.ensure();
    // Newer flannel compares the whole mark with 0x4000.
    for (const [mark, source] of [["0x4000", "10.20.93.2"], ["0x14001", "10.20.93.2"]] as const) {
      await host.run(
        ...["iptables-nft", "-t", "mangle", "-I", "PREROUTING", "-i", "docker0"],
        ...["-j", "MARK", "--set-mark", mark],
      );
      assertEquals(await sourceSeen(container, outside, "192.0.2.2", 100), source, mark);
      await host.run("iptables-nft", "-t", "mangle", "-F", "PREROUTING");
    }
    assertEquals(await sourceSeen(container, outside, "192.0.2.2", 101), "192.0.2.1");
  }));

Deno.test("Firewall.survey() names a chain of nftables that drops, and its commands work", async () => {
  await using host = await Namespace.make();
  await host.run("nft", "add table inet site");
  await host.run(
    "nft",
    "add chain inet site guard { type filter hook forward priority 0; policy drop; }",
  );
  await withNeighbours(host, async ({ container, peer }) => {
    for (const mode of ["nftables", "iptables"] as const) {
      const firewall = await open(host, {}, undefined, { mode });
      await firewall.ensure();
      const { obstacles: [obstacle, ...more] } = await firewall.survey();
      assertEquals(more, []);
      assertEquals(await sourceSeen(peer, container, "10.20.93.2", 100), "nothing");

      for (const command of obstacle!.commands) await host.run(...command.split(" "));
      assertEquals((await firewall.survey()).obstacles, []);
      assertEquals(await sourceSeen(peer, container, "10.20.93.2", 101), "10.20.7.2");
      await host.run("nft", "flush chain inet site guard");
    }
  });
});

/** Pings each way; returns the results of {@linkcode sourceSeen} by the ping's name. */
async function sourcesSeen(
  host: Namespace,
  { container, peer, outside }: Neighbours,
): Promise<Record<string, string>> {
  const pings: [string, Namespace, Namespace, string][] = [
    ["container to peer", container, peer, "10.20.7.2"],
    ["peer to container", peer, container, "10.20.93.2"],
    ["container to outside", container, outside, "192.0.2.2"],
    ["outside to container", outside, container, "10.20.93.2"],
    ["outside to peer", outside, peer, "10.20.7.2"],
    ["host to peer", host, peer, "10.20.7.2"],
  ];
  return Object.fromEntries(
    await Promise.all(pings.map(async ([name, from, to, address], i) => [
      name,
      await sourceSeen(from, to, address, 100 + i),
    ])),
  );
}
