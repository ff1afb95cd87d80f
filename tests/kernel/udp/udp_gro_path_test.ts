/** The GRO path: two hosts with a container on each, and TCP between the containers. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { setTxOffload } from "../../../bench/udp/wire.ts";
import { pattern, udpPacket } from "../../../backends/udp/user/testing/packets.ts";
import { groArrival } from "../../../backends/udp/kernel/gro/gro_device.ts";
import type { Attachment } from "../../../backends/udp/kernel/kernel_path.ts";
import {
  FORMER_KEY,
  GRO_HEADERS,
  GroCount,
  GroValue,
  groValue,
  MAPS,
  PACKETS_KEY,
  PROBES_KEY,
  readGroSecret,
} from "../../../backends/udp/kernel/programs/layout.ts";
import { parseIPv4, Prefix } from "../../../mod/ip/mod.ts";
import { BpfMap, BpfProgram, openPin } from "../../../mod/sys/bpf/mod.ts";
import { libc, type Link, Netlink, randomMac, VXLAN } from "../../../mod/sys/mod.ts";
import type { Namespace } from "../firewall/firewall_namespace.ts";
import { addContainers, CONTAINER_ADDRESSES } from "./udp_containers.ts";
import { transfer } from "./udp_exchange.ts";
import { ADDRESSES, DEVICE_ADDRESSES, LEASES, UdpLab, type UdpNode } from "./udp_lab.ts";
import type { KernelOptions } from "./udp_node.ts";
import { RawPeer } from "./udp_raw_peer.ts";

libc();

const ip = (text: string) => parseIPv4(text)!;
const GRO_DEVICE = "flannel0-gro";

/** Waits for the first output of a process. */
async function firstLine(output: ReadableStream<Uint8Array>): Promise<void> {
  for await (const _ of output.values({ preventCancel: true })) return;
}

/** Options of a host's kernel path that probes at each check while its GRO path is closed. */
function kernelOf(lab: UdpLab, host: 0 | 1): KernelOptions {
  return { directory: lab.pins(host), groPauseMs: 0 };
}

/** Adds or deletes a rule that drops datagrams to flannel's port in `INPUT`. */
function filter(host: Namespace, action: "-A" | "-D"): Promise<string> {
  return host.run("iptables", action, "INPUT", "-p", "udp", "--dport", "8285", "-j", "DROP");
}

/** Two hosts whose kernels carry packets, and a container on each. */
class GroLab implements AsyncDisposable {
  readonly #stack: AsyncDisposableStack;

  private constructor(
    stack: AsyncDisposableStack,
    readonly lab: UdpLab,
    readonly nodes: readonly [UdpNode, UdpNode],
    readonly containers: readonly [Namespace, Namespace],
  ) {
    this.#stack = stack;
  }

  static async make(
    attachment?: Attachment,
    prepare: (lab: UdpLab) => Promise<unknown> = () => Promise.resolve(),
  ): Promise<GroLab> {
    await using stack = new AsyncDisposableStack();
    const lab = stack.use(await UdpLab.make());
    await prepare(lab);
    const start = (host: 0 | 1) =>
      lab.start(host, { kernel: { ...kernelOf(lab, host), ...(attachment && { attachment }) } });
    const nodes = [await start(0), await start(1)] as const;
    const [left, right] = await addContainers(lab.hosts, stack);
    return new GroLab(stack.move(), lab, nodes, [left!, right!]);
  }

  /** Sends bytes from the container of host 0 to that of host 1. */
  transfer(megabytes: number): Promise<void> {
    return transfer(...this.containers, CONTAINER_ADDRESSES[1], megabytes);
  }

  link(host: 0 | 1, name: string): Link | undefined {
    using netlink = Netlink.open({ netns: `/run/netns/${this.lab.hosts[host].name}` });
    return netlink.link(name);
  }

  /** Packets that a host's decapsulation program has sent to the GRO device, whether they left it or not. */
  groSent(host: 0 | 1): number {
    using map = new BpfMap(openPin(`${this.lab.pins(host)}/groCounts`)!, MAPS.groCounts);
    return map.total(GroCount.groSent);
  }

  /** Packets that a device has received or sent. */
  async packets(host: 0 | 1, name: string, direction: "rx" | "tx"): Promise<number> {
    const text = await this.lab.hosts[host].run("ip", "-j", "-s", "link", "show", name);
    return JSON.parse(text)[0].stats64[direction].packets;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#stack[Symbol.asyncDispose]();
  }
}

for (const attachment of ["tcx", "clsact"] as Attachment[]) {
  Deno.test(`only TCP to containers takes the GRO path, by ${attachment}`, async () => {
    await using all = await GroLab.make(attachment);
    const { lab: { hosts }, containers: [left, right] } = all;
    assertEquals((await all.nodes[0].report()).kernel!.groPath, GRO_DEVICE);
    await transfer(...hosts, DEVICE_ADDRESSES[1], 4);
    const ping = ["busybox", "ping", "-c", "2", "-i", "0.1", "-W", "1"];
    assertStringIncludes(await left.run(...ping, CONTAINER_ADDRESSES[1]), "2 packets received");
    assertEquals(
      [all.groSent(1), await all.packets(1, GRO_DEVICE, "rx")],
      [0, 1],
      "the probe alone",
    );
    await all.transfer(64);
    assert(await all.packets(1, GRO_DEVICE, "rx") > 500);
    await transfer(right, left, CONTAINER_ADDRESSES[0], 64);
    // The GRO device transmits nothing, and each packet is counted once.
    assertEquals(await all.packets(1, GRO_DEVICE, "tx"), 0);
    const [sender, receiver] = await Promise.all(all.nodes.map((node) => node.report()));
    const [[sent], [received]] = [sender!.kernel!.traffic, receiver!.kernel!.traffic];
    assertEquals(sent!.sentPackets, received!.receivedPackets);
    assertEquals(sent!.sentBytes, received!.receivedBytes);
    for (const { counters, kernel } of [sender!, receiver!]) {
      assertEquals([counters.sentPackets, counters.receivedPackets], [0, 0], "none by user space");
      assertEquals(Object.values(kernel!.drops), [0, 0, 0, 0, 0]);
    }
  });
}

Deno.test("TCP to containers takes the GRO path on a host with NAT, as with Docker and -ip-masq", async () => {
  await using all = await GroLab.make("tcx", async ({ hosts }) => {
    for (const host of hosts) {
      for (const chain of ["PREROUTING", "POSTROUTING"]) {
        await host.run("iptables", "-t", "nat", "-A", chain, "-s", "192.0.2.0/24", "-j", "ACCEPT");
      }
    }
  });
  await all.transfer(64);
  assert(all.groSent(1) > 500);
  assert(await all.packets(1, GRO_DEVICE, "rx") > 500);
  const { kernel } = await all.nodes[1].report();
  assertEquals([kernel!.groPath, kernel!.damage], [GRO_DEVICE, null]);
});

Deno.test("TCP segments from a wire without offload reach the container merged", async () => {
  await using all = await GroLab.make();
  for (const host of all.lab.hosts) setTxOffload(host, "eth1", false);
  await all.transfer(64);
  const [traffic] = (await all.nodes[1].report()).kernel!.traffic;
  assert(traffic!.receivedPackets > 64e6 / 1450);
  const forwarded = await all.packets(1, "docker0", "tx");
  assert(forwarded < traffic!.receivedPackets / 2, `${forwarded} of ${traffic!.receivedPackets}`);
});

Deno.test("TCP to containers continues without the GRO device, and sync() repairs it", async () => {
  await using all = await GroLab.make();
  const [, node] = all.nodes;
  const [, host] = all.lab.hosts;
  const damage = async () => (await node.report()).kernel!.damage;
  const over = all.transfer(512);
  let ended = false;
  over.finally(() => ended = true).catch(() => {});
  let rounds = 0;
  for (const act of [["down"], ["address", "02:00:00:00:00:01"], undefined] as const) {
    if (act === undefined) await host.run("ip", "link", "del", GRO_DEVICE);
    else await host.run("ip", "link", "set", GRO_DEVICE, ...act);
    assertMatch(String(await damage()), /^device flannel0-gro (down|altered|deleted)$/);
    // Packets sent to the former device are lost, and retransmitted.
    await new Promise((resolve) => setTimeout(resolve, 100));
    await node.send({ sync: true });
    assertEquals(await damage(), null);
    if (!ended) rounds++;
  }
  await over;
  assert(rounds > 0, "the transfer was over before anything happened");
  const before = await all.packets(1, GRO_DEVICE, "rx");
  await all.transfer(4);
  assert(await all.packets(1, GRO_DEVICE, "rx") > before);
});

for (const attachment of ["tcx", "clsact"] as Attachment[]) {
  Deno.test(`the GRO path is closed when a firewall drops its packets, until probes pass, by ${attachment}`, async () => {
    await using all = await GroLab.make(attachment);
    const [, node] = all.nodes;
    const [, host] = all.lab.hosts;
    const damage = async () => (await node.report()).kernel!.damage;
    const next = async () => {
      for (;;) {
        const seen = await damage();
        if (seen !== null) return seen;
        await new Promise((resolve) => setTimeout(resolve, 500));
      }
    };
    assertEquals(await damage(), null);
    await filter(host, "-A");
    const over = all.transfer(4);
    assertEquals(await next(), `device ${GRO_DEVICE} loses packets`);
    const { groPath, damage: left } = (await node.send({ sync: true })).kernel!;
    assertStringIncludes(groPath!, "flannel's UDP port");
    assertEquals(left, null);
    await over;

    // No packet takes the closed path, however often it is checked.
    const before = all.groSent(1);
    assert(before > 0);
    for (let i = 0; i < 3; i++) {
      await all.transfer(1);
      assertEquals(await damage(), null);
      assertEquals((await node.send({ sync: true })).kernel!.groPath, groPath);
    }
    assertEquals([all.groSent(1), await all.packets(1, GRO_DEVICE, "rx")], [before, 1]);
    // The other host's path stays open.
    assertEquals((await all.nodes[0].report()).kernel!.groPath, GRO_DEVICE);

    await filter(host, "-D");
    assertEquals(await next(), `device ${GRO_DEVICE} passes packets again`);
    const again = (await node.send({ sync: true })).kernel!;
    assertEquals([again.groPath, again.damage], [GRO_DEVICE, null]);
    const probes = await all.packets(1, GRO_DEVICE, "rx");
    await all.transfer(16);
    assert(all.groSent(1) > before);
    assert(await all.packets(1, GRO_DEVICE, "rx") > probes);
    assertEquals(await damage(), null);
  });
}

Deno.test("the GRO path stays closed from the start when a firewall drops probes, also for the next node", async () => {
  await using all = await GroLab.make("tcx", ({ hosts }) => filter(hosts[1], "-A"));
  const { lab, nodes: [, node] } = all;
  assertStringIncludes((await node.report()).kernel!.groPath!, "flannel's UDP port");
  await all.transfer(4);
  await node.kill();
  const second = await lab.start(1, { kernel: kernelOf(lab, 1) });
  assertStringIncludes((await second.report()).kernel!.groPath!, "flannel's UDP port");
  await all.transfer(4);
  assertEquals(all.groSent(1), 0);
  await second.kill();
  await filter(lab.hosts[1], "-D");
  const third = await lab.start(1, { kernel: kernelOf(lab, 1) });
  assertEquals((await third.report()).kernel!.groPath, GRO_DEVICE);
  await all.transfer(4);
  assert(all.groSent(1) > 0);
});

Deno.test("a GRO path that was opened without a peer is probed when there is one", async () => {
  await using lab = await UdpLab.make();
  await filter(lab.hosts[1], "-A");
  const node = await lab.start(1, { peers: {}, kernel: kernelOf(lab, 1) });
  const { groPath, damage } = (await node.report()).kernel!;
  assertEquals([groPath, damage], [GRO_DEVICE, null]);
  const [lease] = LEASES, [address] = ADDRESSES;
  const { kernel } = await node.send({ peers: { [lease]: address } });
  assertEquals(kernel!.damage, `device ${GRO_DEVICE} loses probes`);
  const after = (await node.send({ sync: true })).kernel!;
  assertStringIncludes(after.groPath!, "flannel's UDP port");
  assertEquals(after.damage, null);
});

Deno.test("the GRO device outlives its node, and the next one adopts it", async () => {
  await using all = await GroLab.make();
  const { lab, nodes: [, node] } = all;
  const secret = () => {
    using map = new BpfMap(openPin(`${lab.pins(1)}/gro`)!, MAPS.gro);
    return readGroSecret(map.lookup(PACKETS_KEY)!);
  };
  const former = () => {
    using map = new BpfMap(openPin(`${lab.pins(1)}/gro`)!, MAPS.gro);
    return readGroSecret(map.lookup(FORMER_KEY)!);
  };
  const link = all.link(1, GRO_DEVICE);
  const before = secret();
  await node.kill();
  const over = all.transfer(256);
  const again = await lab.start(1, { kernel: kernelOf(lab, 1) });
  assertEquals(all.link(1, GRO_DEVICE), link);
  assert(secret() !== undefined && secret() !== before, "each start has a secret of its own");
  assertEquals(former(), before);
  assertEquals((await again.report()).kernel!.groPath, GRO_DEVICE);
  assertEquals(former(), undefined);
  await over;
  await again.send({ removeKernel: true });
  assertEquals(all.link(1, GRO_DEVICE), undefined);
});

Deno.test("the GRO device takes another port when the first is in use, and does without when all are", async () => {
  const taken: RawPeer[] = [];
  const take = (lab: UdpLab, host: 0 | 1, count: number) => {
    for (let i = 0; i < count; i++) taken.push(new RawPeer(lab.hosts[host], "0.0.0.0", 28_285 + i));
  };
  try {
    await using all = await GroLab.make("tcx", (lab) => {
      take(lab, 0, 1);
      take(lab, 1, 10);
      return Promise.resolve();
    });
    assertEquals(VXLAN.of(all.link(0, GRO_DEVICE)!)!.port, 28_286);
    assertEquals(all.link(1, GRO_DEVICE), undefined);
    const { groPath, damage } = (await all.nodes[1].report()).kernel!;
    assertStringIncludes(groPath!, "address already in use");
    assertEquals(damage, null);
    await all.transfer(16);
  } finally {
    for (const socket of taken) socket[Symbol.dispose]();
  }
});

Deno.test("a sender without the secret cannot use the GRO path", async () => {
  await using all = await GroLab.make();
  const { lab } = all;
  using map = new BpfMap(openPin(`${lab.pins(0)}/gro`)!, MAPS.gro);
  const real = map.lookup(PACKETS_KEY)!;
  const headers = Uint8Array.from({ length: GRO_HEADERS }, (_, i) => real.getUint8(i));
  const port = real.getUint16(GroValue.Port, false);
  using receiver = new RawPeer(all.containers[0], CONTAINER_ADDRESSES[0], 9000);
  using forger = new RawPeer(lab.hosts[1], ADDRESSES[1], 9000);
  const inner = (payload: Uint8Array, source: string) =>
    udpPacket({
      ...{ source: ip(source), destination: ip(CONTAINER_ADDRESSES[0]) },
      ...{ payload, destinationPort: 9000 },
    });
  const send = (headers: Uint8Array, payload: Uint8Array, source = "10.40.2.9") =>
    forger.send(ADDRESSES[0], new Uint8Array([...headers, ...inner(payload, source)]), port);
  for (let i = 0; i < 6; i++) {
    const forged = headers.slice();
    forged[GroValue.Secret + i]! ^= 0x10;
    send(forged, pattern(10));
  }
  // A sender that knows the secret still cannot use a source outside the network, or one in this host's lease.
  for (const source of ["192.0.2.9", "10.40.1.9"]) send(headers, pattern(20), source);
  // Proves that the frames before were wrong in nothing but the secret or the source.
  send(headers, pattern(30));
  assertEquals(await receiver.receive(), pattern(30));
  const { drops } = (await all.nodes[0].report()).kernel!;
  assertEquals([drops.dropReceiveSpoofed, drops.dropReceiveForeign], [2, 0]);
});

Deno.test("a firewall may close the port of the GRO device", async () => {
  await using all = await GroLab.make();
  const ports = ["-p", "udp", "--dport", "28285:28294"];
  for (const host of all.lab.hosts) {
    await host.run("iptables", "-A", "INPUT", ...ports, "-j", "DROP");
  }
  const before = all.groSent(1);
  await all.transfer(16);
  assert(all.groSent(1) > before);
  const { groPath, damage } = (await all.nodes[1].send({ sync: true })).kernel!;
  assertEquals([groPath, damage], [GRO_DEVICE, null]);
});

Deno.test("the GRO device has no IPv6", async () => {
  await using all = await GroLab.make();
  const [host] = all.lab.hosts;
  assertEquals(await host.run("ip", "-6", "address", "show", "dev", GRO_DEVICE), "");
  const settings = await host.run("ls", "/proc/sys/net/ipv6/conf");
  assert(settings.includes("eth1") && !settings.includes(GRO_DEVICE), settings);
});

Deno.test("a firewall that rejects datagrams for the GRO device does not quote the secret to the peer", async () => {
  await using all = await GroLab.make();
  const { lab } = all;
  const [peer, host] = lab.hosts;
  const secret = () => {
    using map = new BpfMap(openPin(`${lab.pins(1)}/gro`)!, MAPS.gro);
    return readGroSecret(map.lookup(PACKETS_KEY)!)!.replaceAll(":", "");
  };
  const known = secret();
  const file = await Deno.makeTempFile();
  const tcpdump = peer.spawn("tcpdump", "--immediate-mode", "-U", "-i", "eth1", "-w", file, "icmp");
  try {
    await firstLine(tcpdump.stderr);
    await host.run("iptables", "-A", "INPUT", "-p", "udp", "--dport", "8285", "-j", "REJECT");
    const before = all.groSent(1);
    await all.containers[0].succeeds("busybox", "nc", "-w", "3", CONTAINER_ADDRESSES[1], "9");
    assert(all.groSent(1) > before, "nothing took the path that the firewall rejects");
    tcpdump.kill("SIGINT");
    await tcpdump.stdout.cancel();
    await tcpdump.status;
    assert(!(await Deno.readFile(file)).toHex().includes(known), "the secret left the host");
  } finally {
    await Deno.remove(file);
  }
});

Deno.test("groArrival() accepts frames with the secret and drops all others, of 10,000 frames", () => {
  const entries = Object.entries(MAPS).map(([name, shape]) =>
    [name, BpfMap.create(name, shape)] as const
  );
  try {
    const maps = Object.fromEntries(entries);
    const descriptors = Object.fromEntries(entries.map(([name, { fd }]) => [name, fd]));
    const [own, network] = [Prefix.parse("10.40.1.0/24")!, Prefix.parse("10.40.0.0/16")!];
    using program = BpfProgram.load("gro", groArrival({ device: 1, own, network }), descriptors);
    const frame = new Uint8Array(60);
    assertEquals(
      program.run(frame).verdict,
      2,
      "without a GRO device no frame passes, also one of zeros",
    );
    const address = { vni: 8285, mac: randomMac(), secret: randomMac(), port: 28_285 };
    maps.gro!.update(PACKETS_KEY, groValue(address));
    assertEquals(readGroSecret(maps.gro!.lookup(PACKETS_KEY)!), address.secret);
    const secret = address.secret.split(":").map((octet) => parseInt(octet, 16));
    for (let i = 0; i < 10_000; i++) {
      crypto.getRandomValues(frame);
      frame.set(secret, 6);
      frame.set([10, 40, 2, i, 10, 40, 1, i], 26);
      if (i % 4 === 1) frame[6 + i % 6]! ^= 1 << i % 8;
      // Bits of the network, and of the lease.
      if (i % 4 === 3) frame[i % 8 === 3 ? 26 + i % 2 : 30 + i % 3]! ^= 1 << i % 8;
      const { verdict, packet } = program.run(frame);
      assertEquals([verdict, packet], [i % 2 === 1 ? 2 : 7, frame]);
    }
    const indices = [GroCount.groReceived, GroCount.probesReceived];
    const counts = () => indices.map((index) => maps.groCounts!.total(index));
    assertEquals(counts(), [5000, 0]);
    // With the path open for packets, then closed.
    const probe = { ...address, secret: randomMac() };
    maps.gro!.update(PROBES_KEY, groValue(probe));
    for (const probed of [1, 2]) {
      frame.set(probe.secret.split(":").map((octet) => parseInt(octet, 16)), 6);
      assertEquals(program.run(frame).verdict, 2, "the program drops probes");
      assertEquals(counts(), [5000, probed]);
      frame[8]! ^= 1;
      assertEquals(program.run(frame).verdict, 2);
      assertEquals(counts(), [5000, probed]);
      maps.gro!.update(PACKETS_KEY, new Uint8Array(MAPS.gro.valueSize));
    }
  } finally {
    for (const [, map] of entries) map[Symbol.dispose]();
  }
});
