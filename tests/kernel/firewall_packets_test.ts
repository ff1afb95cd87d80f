import { assertEquals } from "@std/assert";
import { open, test } from "./firewall_lab.ts";
import { Namespace } from "./firewall_namespace.ts";

/** A container of this host, a container of a peer, and a host outside the network. */
interface Neighbours {
  readonly container: Namespace;
  readonly peer: Namespace;
  readonly outside: Namespace;
}

/** What the packets' targets see, without any rule of ours, on a host whose FORWARD drops. */
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

Deno.test("Firewall.obstacles() names a chain of nftables that drops, and its cure works", async () => {
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
      const [obstacle, ...more] = await firewall.obstacles();
      assertEquals(more, []);
      assertEquals(await sourceSeen(peer, container, "10.20.93.2", 100), "nothing");

      const cure = /nft (insert rule inet site guard ip saddr \S+ accept)/.exec(obstacle!)![1]!;
      await host.run("nft", cure);
      await host.run("nft", cure.replace("saddr", "daddr"));
      assertEquals(await sourceSeen(peer, container, "10.20.93.2", 101), "10.20.7.2");
      await host.run("nft", "flush chain inet site guard");
    }
  });
});

/**
 * Connects a host:
 *
 *     container --- host --- peer: another host's container, as if through the overlay
 *                      \---- outside: not of the network
 */
async function withNeighbours(
  host: Namespace,
  body: (neighbours: Neighbours) => Promise<void>,
): Promise<void> {
  await using container = await Namespace.make();
  await using peer = await Namespace.make();
  await using outside = await Namespace.make();
  for (
    const [namespace, device, gateway, address] of [
      [container, "docker0", "10.20.93.1", "10.20.93.2"],
      [peer, "flannel.1", "10.20.7.1", "10.20.7.2"],
      [outside, "eth1", "192.0.2.1", "192.0.2.2"],
    ] as const
  ) {
    await host.connect({ device, address: `${gateway}/24` }, namespace, {
      device: "eth0",
      address: `${address}/24`,
    });
    await namespace.run("ip", "route", "add", "default", "via", gateway);
  }
  await host.run("sysctl", "-q", "-w", "net.ipv4.ip_forward=1");
  await body({ container, peer, outside });
}

/** Pings each way; what {@linkcode sourceSeen} tells, by the ping's name. */
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

/**
 * Pings once; tells the source address that the target saw, and whether the reply came back.
 *
 * @param size of the payload in bytes; tells pings that run at the same time apart
 */
async function sourceSeen(
  from: Namespace,
  to: Namespace,
  address: string,
  size: number,
): Promise<string> {
  const tcpdump = to.spawn(
    ...["tcpdump", "-n", "-l", "--immediate-mode", "-c", "1", "-i", "eth0"],
    // ip[2:2] is the total length: 20 bytes of IPv4 header and 8 of ICMP besides the payload.
    ...["icmp[icmptype] == icmp-echo and dst host", address, `and ip[2:2] == ${28 + size}`],
  );
  const errors = tcpdump.stderr.getReader();
  const decoder = new TextDecoder();
  for (let said = ""; !said.includes("listening on");) {
    const { value, done } = await errors.read();
    if (done) throw new Error(`tcpdump: ${said}`);
    said += decoder.decode(value);
  }
  const drained = (async () => {
    while (!(await errors.read()).done);
  })();
  const ping = ["busybox", "ping", "-c", "1", "-W", "1", "-s", String(size), address];
  const answered = await from.succeeds(...ping);
  // What was answered was seen, and tcpdump ends by itself; else a second has gone by in vain.
  const timer = setTimeout(() => tcpdump.kill("SIGINT"), answered ? 5_000 : 0);
  const output = await new Response(tcpdump.stdout).text();
  await tcpdump.status;
  clearTimeout(timer);
  await drained;
  const source = /IP (\d+\.\d+\.\d+\.\d+) >/.exec(output)?.[1];
  if (source === undefined) return "nothing";
  return answered ? source : `${source}, unanswered`;
}
