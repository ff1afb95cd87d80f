import { assert, assertEquals } from "@std/assert";
import { ContainerResponder } from "../../mod/agent/host/container_answers.ts";
import { containerBridge, findContainer, overlaySource } from "../../mod/agent/host/containers.ts";
import { formatIPv4, parseIPv4, Prefix } from "../../mod/ip/mod.ts";
import type { Lease } from "../../mod/lease/mod.ts";
import {
  answerContainerQueries,
  askContainers,
  ContainerSide,
  type ContainerSideOptions,
  Prober,
} from "../../mod/probe/mod.ts";
import { writeEcho } from "../../mod/probe/echo_message.ts";
import { PacketCapture } from "../../mod/probe/packet_capture.ts";
import { ProbeSocket } from "../../mod/probe/probe_socket.ts";
import { LeaseSet } from "../../mod/subnet/mod.ts";
import { libc, Netlink } from "../../mod/sys/mod.ts";
import { NetworkNamespace } from "../lab/netns.ts";

// Opened once for the process, as in the agent: no test's leak.
libc();

const signal = new AbortController().signal;
const ip = (text: string) => parseIPv4(text)!;
const lease = (subnet: string, publicIP: string): Lease => ({
  subnet: Prefix.parse(subnet)!,
  attributes: { publicIP: ip(publicIP) },
  revision: "1",
} as Lease);
const NEAR = lease("10.20.35.0/24", "172.28.128.100");
const FAR = lease("10.20.87.0/24", "172.28.128.101");

/** A host of host-gw: `eth1` to the other, `docker0` with the lease. */
interface Host {
  readonly namespace: NetworkNamespace;
  readonly netlink: Netlink;
  readonly options: Pick<
    ContainerSideOptions,
    "netlink" | "bridge" | "overlay" | "netns" | "signal"
  >;
  /** Starts a container. */
  readonly addContainer: (address: string) => Promise<NetworkNamespace>;
}

/** Two hosts, each with a route to the other's lease; no container. */
async function twoHosts(stack: AsyncDisposableStack): Promise<{ near: Host; far: Host }> {
  const [a, b] = [
    stack.use(await NetworkNamespace.create()),
    stack.use(await NetworkNamespace.create()),
  ];
  await a.ip("link", "add", "eth1", "type", "veth", "peer", "name", "eth1", "netns", b.name);
  const start = async (namespace: NetworkNamespace, own: Lease, other: Lease): Promise<Host> => {
    const gateway = formatIPv4(own.subnet.address + 1);
    for (
      const line of [
        `address add ${formatIPv4(own.attributes.publicIP)}/24 dev eth1`,
        "link set eth1 up",
        "link add docker0 mtu 1450 type bridge",
        `address add ${gateway}/24 dev docker0`,
        "link set docker0 up",
        `route add ${other.subnet} via ${formatIPv4(other.attributes.publicIP)} dev eth1 onlink`,
      ]
    ) await namespace.ip(...line.split(" "));
    await namespace.exec("sysctl", "-qw", "net.ipv4.ip_forward=1");
    const netlink = stack.use(Netlink.open({ netns: namespace.path }));
    const addContainer = async (address: string) => {
      const container = stack.use(await NetworkNamespace.create());
      const port = `veth${address.split(".")[3]}`;
      await namespace.ip(
        ...`link add ${port} mtu 1450 type veth peer name eth0 netns ${container.name}`.split(" "),
      );
      await namespace.ip("link", "set", port, "master", "docker0", "up");
      await container.ip("address", "add", `${address}/24`, "dev", "eth0");
      await container.ip("link", "set", "eth0", "mtu", "1450", "up");
      await container.ip("route", "add", "default", "via", gateway);
      return container;
    };
    const bridge = netlink.link("docker0")!;
    const overlay = [netlink.link("eth1")!.index];
    return {
      ...{ namespace, netlink, addContainer },
      options: { netlink, bridge, overlay, netns: namespace.path, signal },
    };
  };
  return { near: await start(a, NEAR, FAR), far: await start(b, FAR, NEAR) };
}

/** Sends an ICMP echo request from a namespace and returns the outcome. */
async function echo({ path }: NetworkNamespace, address: number): Promise<string> {
  await using prober = Prober.open({ netns: path });
  return (await prober.echo([address], { timeout: 500 }))[0]!.type;
}

Deno.test("ContainerSide sends a container's ICMP echo requests, and reports whether the reply came to the host or to the bridge", async () => {
  await using stack = new AsyncDisposableStack();
  const { near, far } = await twoHosts(stack);
  await near.addContainer("10.20.35.2");
  await far.addContainer("10.20.87.2");
  const side = stack.use(
    (await ContainerSide.open({
      ...{ ...near.options, container: ip("10.20.35.2"), candidates: [] },
    }))!,
  );
  assertEquals([side.address, side.isStandIn], [ip("10.20.35.2"), false]);
  const targets = [ip("10.20.87.2"), ip("10.20.87.1"), ip("10.20.87.3")];
  const look = async () =>
    (await side.echo(targets, 2000, signal)).map(({ isAnswered, isBack }) => [isAnswered, isBack]);
  const lost = [false, false];
  assertEquals(await look(), [[true, true], [true, true], lost]);
  const rule = (rule: string) =>
    near.namespace.exec(
      "nft",
      `add table ip t; add chain ip t f { type filter hook forward priority 0; }; ${rule}`,
    );
  await rule("add rule ip t f ip daddr 10.20.35.2 drop");
  assertEquals(await look(), [[false, true], [false, true], lost]);
  await near.namespace.exec("nft", "delete table ip t");
  await rule("add rule ip t f ip saddr 10.20.35.2 drop");
  assertEquals(await look(), [lost, lost, lost]);
});

Deno.test("ContainerSide stands in for a container at a free address, and leaves the bridge as it was", async () => {
  await using stack = new AsyncDisposableStack();
  const { near, far } = await twoHosts(stack);
  // A bridge has no carrier once it has lost a port, which one that never had any does have.
  const links = async () =>
    (await near.namespace.ip("-o", "link", "show")).replaceAll(/<.*>|state \S+/g, "");
  const candidates = ["10.20.35.254", "10.20.35.253"].map(ip);
  const open = () => ContainerSide.open({ ...near.options, container: undefined, candidates });

  // A bridge that never had a port keeps MAC and MTU, too.
  const before = await links();
  {
    await using side = (await open())!;
    assertEquals([formatIPv4(side.address), side.isStandIn], ["10.20.35.254", true]);
    const [outcome] = await side.echo([ip("10.20.87.1")], 2000, signal);
    assert(outcome!.isAnswered);
    // It answers, as a container would, and at no other address.
    assertEquals(await echo(far.namespace, side.address), "reply");
    assertEquals(await echo(far.namespace, ip("10.20.35.253")) === "reply", false);
  }
  assertEquals(await links(), before);
  assertEquals(await echo(far.namespace, ip("10.20.35.254")) === "reply", false);
  await near.addContainer("10.20.35.254");
  {
    await using side = (await open())!;
    assertEquals(formatIPv4(side.address), "10.20.35.253");
  }
  await near.addContainer("10.20.35.253");
  const taken = await links();
  assertEquals(await open(), undefined);
  assertEquals(await links(), taken);
});

Deno.test("findContainer() finds the container that answers, whether or not it has sent anything", async () => {
  await using stack = new AsyncDisposableStack();
  const { near: { namespace, netlink, addContainer } } = await twoHosts(stack);
  const prober = stack.use(Prober.open({ netns: namespace.path }));
  const find = async () => {
    const bridge = containerBridge(netlink, NEAR.subnet)!;
    const found = await findContainer(netlink, bridge, prober, signal);
    return [bridge.link.name, bridge.ports, found && formatIPv4(found)];
  };
  assertEquals(containerBridge(netlink, FAR.subnet), undefined);
  assertEquals(overlaySource(netlink, NEAR.subnet), ip("10.20.35.1"));
  assertEquals(overlaySource(netlink, FAR.subnet), undefined);
  assertEquals(await find(), ["docker0", 0, undefined]);
  const container = await addContainer("10.20.35.7");
  assertEquals(await find(), ["docker0", 1, "10.20.35.7"]);
  await container.exec("sysctl", "-qw", "net.ipv4.icmp_echo_ignore_all=1");
  assertEquals(await find(), ["docker0", 1, undefined]);
  // Beyond the first addresses it has to be known.
  const other = await addContainer("10.20.35.200");
  assertEquals(await find(), ["docker0", 2, undefined]);
  assertEquals(await echo(other, ip("10.20.35.1")), "reply");
  assertEquals(await find(), ["docker0", 2, "10.20.35.200"]);
});

/** An agent on the far host that answers, for as long as the stack lives. */
function startResponder(stack: AsyncDisposableStack, { namespace }: Host): void {
  const ending = new AbortController();
  const view = { lease: FAR, known: { leases: new LeaseSet([NEAR, FAR]) } };
  const responder = new ContainerResponder(() => [view], ending.signal, namespace.path);
  const errors: string[] = [];
  const done = answerContainerQueries((query) => responder.answer(query), {
    ...{ signal: ending.signal, netns: namespace.path, onError: (error) => errors.push(error) },
  });
  stack.defer(async () => {
    ending.abort();
    await done;
    assertEquals(errors, []);
  });
}

Deno.test("askContainers() returns a container of the other host, and whether that host reaches the local one", async () => {
  await using stack = new AsyncDisposableStack();
  const { near, far } = await twoHosts(stack);
  await near.addContainer("10.20.35.2");
  startResponder(stack, far);
  const ask = async (target?: string, source = "10.20.35.1") => {
    const [answer] = await askContainers([{
      address: ip("10.20.87.1"),
      target: target === undefined ? undefined : ip(target),
    }], { source: ip(source), netns: near.namespace.path, timeout: 3000 });
    if (answer === undefined) return undefined;
    const { containers, container, target: state } = answer;
    return [containers, container && formatIPv4(container), state];
  };
  assertEquals(await ask(), ["none", undefined, "not-asked"]);
  const container = await far.addContainer("10.20.87.2");
  assertEquals(await ask(), ["answers", "10.20.87.2", "not-asked"]);
  assertEquals(await ask("10.20.35.2"), ["answers", "10.20.87.2", "answered"]);
  // Without a tunnel a masquerade may have given the query its host's own address.
  assertEquals(await ask("10.20.35.2", "172.28.128.100"), ["answers", "10.20.87.2", "answered"]);
  assertEquals(await ask("10.20.35.3"), ["answers", "10.20.87.2", "silent"]);
  // Others are sent nothing.
  for (const elsewhere of ["172.28.128.100", "10.20.87.2", "8.8.8.8"]) {
    assertEquals(await ask(elsewhere), ["answers", "10.20.87.2", "not-sent"]);
  }
  await container.exec("sysctl", "-qw", "net.ipv4.icmp_echo_ignore_all=1");
  assertEquals(await ask(), ["silent", undefined, "not-asked"]);
});

Deno.test("answerContainerQueries() answers nobody from outside of the network, and only so many", async () => {
  await using stack = new AsyncDisposableStack();
  const { near, far } = await twoHosts(stack);
  startResponder(stack, far);
  const ask = async (source: string, address: string, count = 1, timeout = 600) => {
    const hosts = new Array(count).fill({ address: ip(address) });
    const options = { source: ip(source), netns: near.namespace.path, timeout };
    const answers = await askContainers(hosts, options);
    return answers.filter((answer) => answer !== undefined).length;
  };
  // The far host's kernel answers these requests, but its agent does not: addresses of no lease.
  await near.namespace.ip("address", "add", "172.28.128.77/24", "dev", "eth1");
  assertEquals(await ask("172.28.128.77", "10.20.87.1"), 0);
  // Nor queries to an address outside its lease.
  assertEquals(await ask("10.20.35.1", "172.28.128.101"), 0);
  // Nor queries from another interface than that of packets to that lease: a forged source.
  await near.namespace.ip(
    ...`link add eth2 type veth peer name eth2 netns ${far.namespace.name}`.split(" "),
  );
  for (const { namespace } of [near, far]) {
    await namespace.ip("link", "set", "eth2", "up");
    const off = ["all", "eth1", "eth2"].map((name) => `net.ipv4.conf.${name}.rp_filter=0`);
    await namespace.exec("sysctl", "-qw", ...off);
  }
  const { mac } = far.netlink.link("eth2")!;
  assertEquals(await ask("10.20.35.1", "10.20.87.1"), 1);
  await near.namespace.ip("route", "replace", "10.20.87.1/32", "dev", "eth2");
  await near.namespace.ip("neigh", "replace", "10.20.87.1", "lladdr", mac!, "dev", "eth2");
  {
    await using prober = Prober.open({ netns: near.namespace.path, source: ip("10.20.35.1") });
    assertEquals((await prober.echo([ip("10.20.87.1")]))[0]!.type, "reply");
  }
  assertEquals(await ask("10.20.35.1", "10.20.87.1"), 0);
  await near.namespace.ip("route", "del", "10.20.87.1/32", "dev", "eth2");
  // A burst of 20, and 10 a second; asked is twice within the time.
  const answered = await ask("10.20.35.1", "10.20.87.1", 300, 1000);
  assert(answered >= 10 && answered <= 60, `${answered} of 300 were answered`);
});

Deno.test("messageFilter() lets through what a socket waits for, and nothing else", async () => {
  await using stack = new AsyncDisposableStack();
  const { near, far } = await twoHosts(stack);
  const eth1 = near.netlink.link("eth1")!.index;
  const capture = (type: number, identifier?: number) =>
    stack.use(
      new PacketCapture(
        eth1,
        identifier === undefined ? { type } : { type, identifier },
        near.namespace.path,
      ),
    );
  const count = (one: PacketCapture) => {
    let packets = 0;
    one.receive((view, length) => {
      packets++;
      // From the IP header on.
      assertEquals([view.getUint8(0), length], [0x45, 84]);
    });
    return packets;
  };
  const [requests, replies] = [capture(8), capture(0)];
  const prefix = new Uint8Array([1, 2, 3, 4]);
  const socket = ProbeSocket.echoRequests(prefix, { netns: far.namespace.path });
  stack.defer(() => socket.close());
  assertEquals(await echo(near.namespace, ip("172.28.128.101")), "reply");
  // Outgoing packets are seen as well as those that come in.
  assertEquals([count(requests), count(replies)], [1, 1]);
  const [own, others] = [capture(8, 0x1234), capture(8, 0x1235)];
  const sender = ProbeSocket.icmp({ identifier: 0x1234, token: new Uint8Array(8) }, {
    netns: near.namespace.path,
  });
  stack.defer(() => sender.close());
  for (const token of [[1, 2, 3, 4], [1, 2, 3, 5]]) {
    const message = {
      isReply: false,
      identifier: 0x1234,
      sequence: 1,
      token: new Uint8Array(token),
    };
    writeEcho(sender.outgoing, 64, message);
    assertEquals(sender.send(64, ip("172.28.128.101")), 0);
  }
  assertEquals(await echo(near.namespace, ip("172.28.128.101")), "reply");
  assertEquals([count(own), count(others)], [2, 0]);
  const seen: (number | undefined)[] = [];
  socket.receive(({ interface: index }) => seen.push(index), () => {});
  assertEquals(seen, [far.netlink.link("eth1")!.index]);
});
