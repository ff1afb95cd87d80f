/**
 * Senders that can put packets into the network through the tunnel, and the change between refusing and accepting sources
 * outside of it while an agent runs. Packets are forged as a process of a peer can: as user 65534.
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { udpPacket } from "../../backends/udp/user/testing/packets.ts";
import type { AgentStatus } from "../../mod/agent/status/status.ts";
import { parseIPv4 } from "../../mod/ip/mod.ts";
import { GuideCluster } from "../lab/guide_cluster.ts";
import type { UnderlayHost } from "../lab/lab.ts";
import { lostReplies } from "../lab/lost_replies.ts";
import type { LabProcess } from "../lab/process.ts";
import { sendDatagrams } from "../lab/send_datagram.ts";
import { FLANNELD, LabUnit } from "../lab/unit.ts";
import {
  addContainer,
  BACKENDS,
  eventually,
  isFullMesh,
  overlayAddress,
  PREFIX,
  subnetOf,
  writeSysconfig,
} from "./guide.ts";

const PACKETS = new URL("./backends/udp_packets.ts", import.meta.url).pathname;
const ENV = { DENO_DIR: Deno.env.get("DENO_DIR") ?? `${Deno.env.get("HOME")}/.cache/deno` };
const RECEIVER_PORT = 9009;

/** Inner sources of forged packets: nobody's, another host's part of the network, the receiver's own. */
const SOURCES = ["outside", "foreign", "own"] as const;
type Source = typeof SOURCES[number];

/** A way that packets are carried. */
interface Carrier {
  readonly name: string;
  readonly config: string;
  readonly options: string;
  readonly port: number;
  /** Sources that are accepted from a peer while sources outside are refused: "What remains" in SECURITY.md. */
  readonly remains: readonly Source[];
}

const configOf = (type: string) => BACKENDS.find((one) => one.type === type)!.config;
const CARRIERS: readonly Carrier[] = [
  {
    ...{ name: "udp in user space", config: configOf("udp"), port: 8285, remains: [] },
    options: "-udp-datapath=user",
  },
  {
    ...{ name: "udp in the kernel", config: configOf("udp"), port: 8285, remains: [] },
    options: "-udp-datapath=kernel",
  },
  {
    ...{ name: "vxlan by iptables", config: configOf("vxlan"), port: 8472, remains: ["foreign"] },
    options: "-firewall=iptables",
  },
  {
    ...{ name: "vxlan by nftables", config: configOf("vxlan"), port: 8472, remains: ["foreign"] },
    options: "-firewall=nftables",
  },
];

async function outsideSources(host: UnderlayHost) {
  const status = JSON.parse((await host.run([FLANNELD, "status", "-json"])).stdout) as AgentStatus;
  return { ...status.networks[0]!.backend!.outsideSources!, traffic: status.networks[0]!.traffic };
}

/** True when a rule of flanneld drops sources outside the network. */
async function hasStrictRule(host: UnderlayHost): Promise<boolean> {
  const rules = await host.exec(["nft", "list", "ruleset", "ip"]) +
    await host.exec(["iptables-legacy-save", "-t", "raw"]);
  // nft's words for a rule of its own, for one of iptables-nft, and iptables' words.
  return rules.split("\n").some((line) =>
    line.includes("flannel.1") && /(saddr !=|! -s) 10\.20\.0\.0\/16 .*drop/i.test(line)
  );
}

/** Waits until status and, with vxlan, the rules agree. @returns the reason */
async function untilRefused(
  { port }: Carrier,
  host: UnderlayHost,
  refused: boolean,
): Promise<string> {
  let reason = "";
  await eventually(`sources outside refused: ${refused}`, async () => {
    const now = await outsideSources(host);
    reason = now.reason;
    const isDone = port === 8285 || await hasStrictRule(host) === refused;
    return isDone && now.refused === refused;
  }, 30_000);
  return reason;
}

const inContainer = (
  command: readonly string[],
) => ["ip", "netns", "exec", "container", ...command];

/** Packets that the rules of flanneld have dropped on a host. */
async function droppedByRules(host: UnderlayHost): Promise<number> {
  const nft = await host.exec(["nft", "list", "ruleset", "ip"]);
  const legacy = await host.exec(["iptables-legacy-save", "-c", "-t", "raw"]);
  const counts = [
    ...nft.matchAll(/counter packets (\d+) bytes \d+ drop/g),
    ...legacy.matchAll(/^\[(\d+):\d+\] -A FLANNEL-RAW .*DROP/gm),
  ];
  return counts.reduce((sum, [, count]) => sum + Number(count), 0);
}

/** A packet as a tunnel carries it, for its UDP port. */
async function encapsulated(
  { port }: Carrier,
  to: UnderlayHost,
  packet: Uint8Array,
): Promise<Uint8Array> {
  if (port === 8285) return packet;
  const [{ address }] = JSON.parse(
    await to.exec(["ip", "-j", "link", "show", "flannel.1"]),
  ) as [{ address: string }];
  const mac = address.split(":").map((octet) => parseInt(octet, 16));
  // VXLAN header (RFC 7348) with VNI 1; Ethernet header of IPv4.
  return new Uint8Array([0x08, 0, 0, 0, 0, 0, 1, 0, ...mac, 2, 0, 0, 0, 0, 1, 0x08, 0, ...packet]);
}

/** Two hosts with agents and containers, and a third without. */
class Scene {
  readonly receiver: LabProcess;
  constructor(
    readonly carrier: Carrier,
    readonly tested: UnderlayHost,
    readonly peer: UnderlayHost,
    readonly target: string,
    receiver: LabProcess,
  ) {
    this.receiver = receiver;
  }

  /** Sends a forged packet from the peer; an isAuthentic one follows. @returns which of the sources arrived */
  async forge(
    sources: readonly Source[],
    wrap: (command: string[]) => readonly string[] = (command) => command,
  ): Promise<Source[]> {
    const { carrier, tested, peer, target, receiver } = this;
    const addresses: Readonly<Record<Source, string>> = {
      ...{ outside: "192.168.77.7", foreign: "10.20.255.7" },
      own: target.replace(/0$/, "77"),
    };
    const id = crypto.randomUUID().slice(0, 8);
    for (const source of sources) {
      const packet = udpPacket({
        ...{ source: parseIPv4(addresses[source])!, destination: parseIPv4(target)! },
        destinationPort: RECEIVER_PORT,
        payload: new TextEncoder().encode(`${id} ${source}`),
      });
      const payload = await encapsulated(carrier, tested, packet);
      const datagram = { address: tested.address, port: carrier.port, payload };
      await peer.exec(wrap(sendDatagrams(datagram)));
    }
    const isAuthentic = new TextEncoder().encode(`${id} isAuthentic`);
    await peer.exec(sendDatagrams({ address: target, port: RECEIVER_PORT, payload: isAuthentic }));
    await receiver.waitFor(new RegExp(`${id} isAuthentic`));
    return SOURCES.filter((source) => receiver.output.includes(`${id} ${source}`));
  }
}

for (const carrier of CARRIERS) {
  Deno.test(`agents with ${carrier.name} refuse forged sources while all hosts masquerade, and no other packet`, async () => {
    const options = `-iface=eth1 -ip-masq ${carrier.options}`;
    await using stack = new AsyncDisposableStack();
    const cluster = stack.use(
      await GuideCluster.start({ hosts: 3, etcdOn: 2, api: "v3", config: carrier.config, options }),
    );
    const [tested, peer, third] = cluster.hosts as [UnderlayHost, UnderlayHost, UnderlayHost];
    // Forged sources are the agent's to judge here, not the kernel's.
    for (const name of ["all", "default"]) {
      await tested.exec(["sysctl", "-qw", `net.ipv4.conf.${name}.rp_filter=0`]);
    }
    await cluster.startAgent(tested);
    let unit = await LabUnit.start(peer);
    stack.defer(() => unit[Symbol.asyncDispose]());
    await eventually("a full mesh", () => isFullMesh([tested, peer]));
    const here = await addContainer(tested);
    const there = await addContainer(peer);
    const target = await overlayAddress(tested);
    const run = ["run", "-A", "--no-check", "--no-lock", "--unstable-net", PACKETS];
    const receive = [Deno.execPath(), ...run, "receive", target];
    const receiver = stack.use(await tested.spawn(receive, { env: ENV }));
    await receiver.waitFor(/listening/);
    const scene = new Scene(carrier, tested, peer, target, receiver);

    assertEquals(await untilRefused(carrier, tested, true), "all of 1 peer masquerade");
    await untilRefused(carrier, peer, true);
    const table = (await tested.run([FLANNELD, "status"])).stdout;
    assertStringIncludes(table, "outside sources refused: all of 1 peer masquerade");
    const planned = await tested.run([FLANNELD, "plan"]);
    assertStringIncludes(planned.stdout, "sources outside the network: refused (all of 1 peer");

    const spoofed = async () =>
      ((await outsideSources(tested)).traffic?.drops.receiveSpoofed ?? 0) +
      await droppedByRules(tested);
    const before = await spoofed();
    assertEquals(await scene.forge(SOURCES), carrier.remains);
    assertEquals(await spoofed() - before, SOURCES.length - carrier.remains.length);

    // Masqueraded, the container's datagram would be one of its host.
    const byRules = await droppedByRules(peer);
    assertEquals(await scene.forge(SOURCES, inContainer), []);
    assertEquals(await droppedByRules(peer) - byRules, SOURCES.length);

    // The purpose of the network.
    const ping = (address: string) => ["busybox", "ping", "-c", "1", "-W", "5", address];
    await peer.exec(inContainer(ping(here)));
    await tested.exec(inContainer(ping(there)));
    await peer.exec(ping(here));
    await peer.exec(inContainer(ping(third.address)));
    // From outside by way of the peer, which masquerades it.
    await third.exec(["ip", "route", "add", await subnetOf(tested), "via", peer.address]);
    await third.exec(ping(here));

    // A host of upstream flannel joins: it has a lease and no node record.
    const lease = `${PREFIX}/subnets/10.20.254.0-24`;
    const lost = await lostReplies(peer, target, async () => {
      await cluster.etcd.set(
        "v3",
        lease,
        JSON.stringify({
          PublicIP: third.address,
          ...(carrier.port === 8472
            ? { BackendType: "vxlan", BackendData: { VtepMAC: "0a:00:ac:1c:80:66" } }
            : {}),
        }),
      );
      assertEquals(
        await untilRefused(carrier, tested, false),
        `${third.address} of 2 peers does not advertise masquerading`,
      );
      assertEquals(await scene.forge(SOURCES), ["outside", ...carrier.remains]);
      await cluster.etcd.ctl("v3", ["del", lease]);
      await untilRefused(carrier, tested, true);
    });
    assertEquals(lost, 0, "replies lost while the programs or rules were exchanged");
    assertEquals(await scene.forge(SOURCES), carrier.remains);

    // A peer that restarts without -ip-masq changes its node record before its rules are removed.
    await unit[Symbol.asyncDispose]();
    await writeSysconfig(peer, cluster.etcd, { options: options.replace("-ip-masq ", "") });
    unit = await LabUnit.start(peer);
    await untilRefused(carrier, tested, false);
    assertEquals(await scene.forge(["outside"]), ["outside"]);
    await third.exec(ping(here));
    assert((await peer.run([FLANNELD, "status"])).stdout.includes("outside sources refused"));
  });
}
