import { assert, assertEquals } from "@std/assert";
import { openFirewallCleaner, PeerSources } from "../../../mod/firewall/mod.ts";
import { formatIPv4, parseIPv4, Prefix } from "../../../mod/ip/mod.ts";
import { IpSets, libc, NftSets } from "../../../mod/sys/mod.ts";
import { RECORDED, type RecordedDocker } from "./docker_rules.ts";
import { open } from "./firewall_lab.ts";
import { Namespace } from "./firewall_namespace.ts";
import { type Neighbours, sourceSeen, withNeighbours } from "./firewall_neighbours.ts";

// Opened once for the process, as in the agent: no test's leak.
libc();

const CONTAINER = "10.20.93.2";
/** docker0's own address, which probes of the peer ask for. */
const HOST = "10.20.93.1";
/** Nobody's lease. */
const FORGED = "10.20.8.2";

/** The rules without masquerading, which would hide the source of packets. */
const SPEC = { ipMasq: false };

const peer = (subnet: string, publicIP: string) => ({
  subnet: Prefix.parse(subnet)!,
  publicIP: parseIPv4(publicIP)!,
});

/** Runs a test beside each recorded Docker. */
function test(
  title: string,
  body: (host: Namespace, docker: RecordedDocker, neighbours: Neighbours) => Promise<void>,
): void {
  for (const docker of RECORDED) {
    Deno.test(`${title}, beside Docker with ${docker.name}`, async () => {
      await using host = await Namespace.make();
      // iptables makes its tables when it has a rule for them.
      for (const table of ["raw", "filter", "nat"]) {
        for (const letter of ["A", "D"]) {
          await host.run("iptables-nft", "-t", table, `-${letter}`, "OUTPUT", "-j", "ACCEPT");
        }
      }
      await docker.start(host);
      await withNeighbours(host, async (neighbours) => {
        await neighbours.peer.run("ip", "addr", "add", `${FORGED}/32`, "dev", "eth0");
        await body(host, docker, neighbours);
      });
    });
  }
}

/** True when an echo request with this source gets to the container. */
async function arrives(from: Namespace, container: Namespace, source?: string): Promise<boolean> {
  const requests = async () => {
    const [names, values] = (await container.run("cat", "/proc/net/snmp")).split("\n")
      .filter((line) => line.startsWith("Icmp:")).map((line) => line.split(" "));
    return Number(values![names!.indexOf("InEchos")]);
  };
  const before = await requests();
  const args = source === undefined ? [] : ["-I", source];
  await from.succeeds("busybox", "ping", "-c", "1", "-W", "1", ...args, CONTAINER);
  return await requests() > before;
}

test("Firewall accepts what comes out of the overlay device", async (host, docker, neighbours) => {
  const { container, peer, outside } = neighbours;
  const recorded = await docker.rules(host);
  assertEquals(await sourceSeen(peer, container, CONTAINER, 100), "nothing");
  const firewall = await open(host, { ...SPEC, ingress: { device: "flannel.1" } });
  assertEquals(await firewall.ensure(), "applied");
  assertEquals(await firewall.check(), []);

  for (const disturb of [undefined, docker.change, docker.change, docker.start]) {
    await disturb?.(host);
    if (disturb !== undefined) {
      assert((await firewall.check()).length > 0);
      await firewall.ensure();
    }
    assertEquals(await sourceSeen(peer, container, CONTAINER, 101), "10.20.7.2");
    assert(await peer.succeeds("busybox", "ping", "-c", "1", "-W", "2", HOST));
    assertEquals(await arrives(outside, container), false, "a neighbour");
    assertEquals(await firewall.ensure(), "unchanged");
  }
  await firewall.remove();
  await docker.start(host);
  assertEquals(await docker.rules(host), recorded);
  assertEquals(await sourceSeen(peer, container, CONTAINER, 102), "nothing");
});

test(
  "Firewall accepts peers by their sources on the underlay",
  async (host, docker, neighbours) => {
    const { container, outside } = neighbours;
    const recorded = await docker.rules(host);
    const peers = new PeerSources();
    // Packets that a peer's Docker masquerades have the peer's own address.
    const [there, masqueraded] = [peer("10.20.7.0/24", "10.20.77.1"), peer("10.20.9.0/24", FORGED)];
    peers.replace([there]);
    const options = { peers };
    const spec = { ...SPEC, ingress: { underlay: "flannel.1" } };
    const firewall = await open(host, spec, undefined, options);
    assertEquals(await firewall.ensure(), "applied");
    assertEquals(await firewall.check(), []);
    assertEquals(await arrives(neighbours.peer, container), true);
    assertEquals(await arrives(neighbours.peer, container, FORGED), false, "a forged source");
    assertEquals(await arrives(outside, container), false, "a neighbour");

    firewall.changePeers(peers.change([], [masqueraded]));
    assertEquals(await firewall.check(), []);
    assertEquals(
      await arrives(neighbours.peer, container, FORGED),
      true,
      formatIPv4(masqueraded.publicIP),
    );
    firewall.changePeers(peers.change([there, masqueraded], []));
    assertEquals(await arrives(neighbours.peer, container), false, "a peer that has gone");
    assertEquals(await arrives(neighbours.peer, container, FORGED), false);

    firewall.changePeers(peers.change([], [there]));
    await emptySets(host);
    assert((await firewall.check()).length > 0);
    assertEquals(await arrives(neighbours.peer, container), false);
    await firewall.ensure();
    assertEquals(await arrives(neighbours.peer, container), true);
    await docker.start(host);
    await firewall.ensure();
    assertEquals(await arrives(neighbours.peer, container), true);

    // A cleanup in another process, which knows no peer.
    await docker.start(host);
    await firewall.ensure();
    const netns = `/run/netns/${host.name}`;
    const cleaner = await openFirewallCleaner(undefined, { commandPrefix: host.prefix, netns });
    const lines = await cleaner.check();
    assert(lines.some((line) => /^- .*flannel-(peers|leases)/.test(line)), lines.join("\n"));
    await cleaner.ensure();
    assertEquals(await cleaner.check(), []);
    assertEquals(await docker.rules(host), recorded);
    using sets = new IpSets({ netns });
    assertEquals(sets.header("flannel-peers"), undefined);
  },
);

/** Removes all elements of all sets. */
async function emptySets(host: Namespace): Promise<void> {
  const netns = `/run/netns/${host.name}`;
  using ipSets = new IpSets({ netns });
  const elements = ipSets.elements("flannel-peers");
  if (elements.length > 0) ipSets.delete("flannel-peers", elements);
  using nftSets = new NftSets({ netns });
  if (!nftSets.hasTable("docker-bridges")) return;
  for (const set of ["flannel-leases", "flannel-hosts"]) {
    await host.run("nft", "flush", "set", "ip", "docker-bridges", set);
  }
}

test("Firewall keeps two networks' rules in Docker's chains apart", async (host, docker) => {
  const recorded = await docker.rules(host);
  const other = {
    ...{
      tag: "green",
      network: Prefix.parse("10.30.0.0/16")!,
      subnet: Prefix.parse("10.30.5.0/24")!,
    },
    ingress: { device: "flannel.2", underlay: "eth1" },
  };
  const one = await open(host, { ...SPEC, ingress: { device: "flannel.1" } });
  await one.ensure();
  const alone = await docker.rules(host);
  const two = await open(host, { ...SPEC, ...other });
  await two.ensure();
  for (const firewall of [one, two, one]) assertEquals(await firewall.ensure(), "unchanged");
  await two.remove();
  assertEquals(await docker.rules(host), alone);
  await one.remove();
  assertEquals(await docker.rules(host), recorded);
});

Deno.test("Firewall makes no rule and no set where Docker has no chains", async () => {
  await using host = await Namespace.make();
  await host.run("iptables-nft", "-P", "FORWARD", "DROP");
  // As an administrator prepares it; and a table that only sounds like Docker's.
  await host.run("iptables-nft", "-N", "DOCKER-USER");
  await host.run("nft", "add table ip docker-bridge");
  const peers = new PeerSources();
  peers.replace([peer("10.20.7.0/24", "192.0.2.9")]);
  const spec = { ...SPEC, ingress: { device: "flannel.1", underlay: "eth1" } };
  const firewall = await open(host, spec, undefined, { peers });
  assertEquals(await firewall.ensure(), "applied");
  const rules = await host.run("nft", "-s", "list", "ruleset");
  assertEquals(/FLANNEL-(IN|RAW)|flannel-(peers|leases|hosts)/.test(rules), false, rules);
  assertEquals(/chain PREROUTING/.test(rules), false, "no table raw");
  using sets = new IpSets({ netns: `/run/netns/${host.name}` });
  assertEquals(sets.header("flannel-peers"), undefined);
});

/** Features that a kernel may lack, each with the error of iptables-restore. */
const LACKING = [
  { what: "*raw", answer: "can't initialize iptables table `raw'", chains: ["FLANNEL-IN"] },
  { what: "--match-set", answer: "Couldn't load match `set'", chains: [] },
];

for (const { what, answer, chains } of LACKING) {
  Deno.test(`Firewall does without its rules in Docker's chains on a kernel without ${what}`, async () => {
    await using host = await Namespace.make();
    await RECORDED[0]!.start(host);
    const directory = await Deno.makeTempDir();
    try {
      const real = (program: string) => host.run("which", program).then((path) => path.trim());
      for (const program of ["iptables-nft", "iptables-nft-save"]) {
        await Deno.symlink(await real(program), `${directory}/${program}`);
      }
      await Deno.writeTextFile(
        `${directory}/iptables-nft-restore`,
        `#!/bin/sh
input=$(cat)
case $input in
*'${what}'*) echo "${answer.replace("`", "\\`")}" >&2; exit 3 ;;
esac
printf '%s\n' "$input" | ${await real("iptables-nft-restore")} "$@"
`,
        { mode: 0o755 },
      );
      const spec = { ...SPEC, ingress: { underlay: "eth1" } };
      const firewall = await open(host, spec, undefined, { searchPath: [directory] });
      assertEquals(await firewall.ensure(), "applied");
      assertEquals(await firewall.ensure(), "unchanged");
      const saved = await host.run("iptables-nft-save");
      assert(saved.includes("-j FLANNEL-FWD"), saved);
      const jumps = [...saved.matchAll(/-j (FLANNEL-(?:IN|RAW))$/gm)].map(([, chain]) => chain);
      assertEquals(jumps, chains, saved);
      const text = (await firewall.survey()).obstacles[0]?.text;
      assert(text?.includes(answer) && text.includes("-docker-rules=off"), text);
      using sets = new IpSets({ netns: `/run/netns/${host.name}` });
      assertEquals(sets.header("flannel-peers") !== undefined, chains.length > 0);
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  });
}
