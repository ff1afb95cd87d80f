/** The kernel's part in a udp network as the backend runs it, on a host in a namespace. */
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { setTxOffload } from "../../../bench/udp/wire.ts";
import { type BackendHost, BackendLab, NETWORK } from "../../../backends/backend_lab.ts";
import {
  KERNEL_FEATURE,
  type PeerSubnet,
  UdpKernel,
} from "../../../backends/udp/kernel/udp_kernel.ts";
import { kernelRouteTo } from "../../../backends/udp/kernel/inspect.ts";
import { captureLog } from "../../../mod/observe/testing/log_lab.ts";
import type { BackendContext } from "../../../backends/backend.ts";
import { describeChange } from "../../../backends/describe.ts";
import { planPrograms } from "../../../backends/udp/kernel/plan.ts";
import { MAPS, routeKey, routeValue } from "../../../backends/udp/kernel/programs/layout.ts";
import { pinDirectory } from "../../../backends/udp/kernel/pins.ts";
import { BpfMap, openPin } from "../../../mod/sys/bpf/mod.ts";
import { pathSettings } from "../../../backends/udp/kernel/programs/settings.ts";
import { parseIPv4, Prefix } from "../../../mod/ip/mod.ts";
import { DryRunNetlink } from "../../../mod/sys/mod.ts";

const OWN = Prefix.parse("10.20.1.0/24")!;
const PORT = 8285;
const DEVICE = "flannel0";

/** A peer that need not exist. */
function peer(subnet: string, publicIP: string): PeerSubnet {
  return { subnet: Prefix.parse(subnet)!, publicIP: parseIPv4(publicIP)! };
}

/** A host with the device, and its kernel's part. */
class Part implements Disposable {
  readonly peers = [peer("10.20.2.0/24", "172.28.128.101"), peer("10.20.3.0/24", "172.28.128.102")];
  readonly #host: BackendHost;
  readonly #kernel: UdpKernel;
  readonly #index: number;
  /** What the user-space path behind it was asked. */
  stopped = 0;

  private constructor(host: BackendHost, kernel: UdpKernel) {
    this.#host = host;
    this.#kernel = kernel;
    this.#index = host.netlink.link(DEVICE)!.index;
  }

  static async make(host: BackendHost, features: readonly string[] = [KERNEL_FEATURE]) {
    await host.namespace.ip("tuntap", "add", DEVICE, "mode", "tun");
    await host.namespace.ip("link", "set", DEVICE, "up");
    const context = await host.context({ Type: "udp" }, {
      udp: { datapath: "auto" },
      featuresOf: () => features,
    });
    return new Part(host, new UdpKernel(context, PORT, DEVICE));
  }

  /** What the backend does at the start and at every look at everything. */
  sync() {
    return this.do((kernel) => {
      kernel.open(this.#index, { stopCoalescing: () => this.stopped++ });
      return kernel.sync(OWN, this.#index, this.peers);
    });
  }

  /** As {@linkcode sync}, while the process gets no descriptors. */
  fail(): number {
    return this.do((kernel) =>
      withoutDescriptors(() => {
        kernel.open(this.#index, { stopCoalescing: () => this.stopped++ });
        return kernel.sync(OWN, this.#index, this.peers);
      })
    );
  }

  /** Does something where the host's agent would run. */
  do<T>(step: (kernel: UdpKernel) => T): T {
    return this.#host.namespace.enter(() => step(this.#kernel));
  }

  get paths(): string[] {
    return [...this.#kernel.paths(this.peers).values()];
  }

  [Symbol.dispose](): void {
    this.do((kernel) => kernel.remove());
  }
}

Deno.test("UdpKernel.reconsider() follows routes to peers to another interface and back", async () => {
  await using lab = await BackendLab.make();
  const { namespace } = lab.host;
  using part = await Part.make(lab.host);
  part.sync();
  assertEquals(part.paths, ["kernel", "kernel"]);

  await namespace.ip("link", "add", "eth2", "type", "veth", "peer", "name", "eth3");
  await namespace.ip("link", "set", "eth2", "up");
  await namespace.ip("route", "add", "172.28.128.101/32", "dev", "eth2");
  assertEquals(part.do((kernel) => kernel.reconsider(part.peers)), undefined);
  assertEquals(part.paths, ["user (no route to it by eth1)", "kernel"]);
  const carried = () =>
    part.do(() => part.peers.map(({ subnet }) => kernelRouteTo(DEVICE, subnet.address)?.carried));
  assertEquals(carried(), [false, true]);

  await namespace.ip("route", "del", "172.28.128.101/32");
  assertEquals(part.do((kernel) => kernel.reconsider(part.peers)), undefined);
  assertEquals(part.paths, ["kernel", "kernel"]);
  assertEquals(carried(), [true, true]);
});

Deno.test("UdpKernel leaves peers that IPsec policies cover to user space, and says so", async () => {
  await using lab = await BackendLab.make();
  const { namespace } = lab.host;
  using part = await Part.make(lab.host);
  using log = captureLog();
  part.sync();
  const changed = () => part.do((kernel) => kernel.arePoliciesChanged());
  const reconsider = () => part.do((kernel) => kernel.reconsider(part.peers));
  assertEquals([changed(), ...part.paths], [false, "kernel", "kernel"]);
  const policy = (verb: string, ...rest: string[]) =>
    namespace.ip("xfrm", "policy", verb, ...rest, "priority", "100");
  const covered = "user (an IPsec policy covers the peer)";

  const inbound = ["src", "172.28.128.101/32", "dst", "172.28.128.0/24", "dir", "in"];
  const esp = ["tmpl", "proto", "esp", "mode", "transport"];
  await policy("add", ...inbound, ...esp);
  assertEquals(changed(), true);
  assertEquals(reconsider(), undefined);
  assertEquals([changed(), ...part.paths], [false, covered, "kernel"]);
  assertEquals(log.lines.filter((line) => /IPsec policies cover peers/.test(line)).length, 1);

  const block = ["src", "0.0.0.0/0", "dst", "172.28.128.102/32", "proto", "udp", "dir", "out"];
  await policy("add", ...block, "action", "block");
  part.sync();
  assertEquals([changed(), ...part.paths], [false, covered, covered]);

  await namespace.ip("xfrm", "policy", "flush");
  assertEquals(changed(), true);
  assertEquals(reconsider(), undefined);
  assertEquals(part.paths, ["kernel", "kernel"]);
  assertEquals(log.lines.filter((line) => /IPsec policies cover no peer/.test(line)).length, 1);
});

Deno.test("UdpKernel follows what the underlay does with checksums, to all peers and back", async () => {
  await using lab = await BackendLab.make();
  const { namespace } = lab.host;
  using part = await Part.make(lab.host, []);
  part.sync();
  const reason = "user (the peer does not say that its kernel takes them)";
  assertEquals(part.paths, [reason, reason]);
  const damage = () => part.do((kernel) => kernel.damage());
  assertEquals(damage(), undefined);

  setTxOffload(namespace, "eth1", false);
  assertMatch(String(damage()), /checksums/);
  part.sync();
  assertEquals(part.paths, ["kernel", "kernel"]);
  assert(part.stopped > 0, "trains of finished datagrams would be for user space");
  assertEquals(damage(), undefined);

  setTxOffload(namespace, "eth1", true);
  assertMatch(String(damage()), /checksums/);
  part.sync();
  assertEquals(part.paths, [reason, reason]);
  assertEquals(damage(), undefined);
});

/** getrlimit(2): RLIMIT_NOFILE. */
const RLIMIT_NOFILE = 7;

/** Runs a step in a process that gets no more descriptors, as one for which the kernel has no more memory. */
function withoutDescriptors<T>(step: () => T): T {
  const library = Deno.dlopen("libc.so.6", {
    getrlimit: { parameters: ["i32", "buffer"], result: "i32" },
    setrlimit: { parameters: ["i32", "buffer"], result: "i32" },
  });
  const { getrlimit, setrlimit } = library.symbols;
  const former = new BigUint64Array(2);
  assertEquals(getrlimit(RLIMIT_NOFILE, former), 0);
  assertEquals(setrlimit(RLIMIT_NOFILE, new BigUint64Array([0n, former[1]!])), 0);
  try {
    return step();
  } finally {
    setrlimit(RLIMIT_NOFILE, former);
    library.close();
  }
}

Deno.test("UdpKernel goes on, and begins, after a failure that passes; says it once, and gives in to one that stays", async () => {
  await using lab = await BackendLab.make();
  using part = await Part.make(lab.host);
  using log = captureLog();
  const said = (pattern: RegExp) => log.lines.filter((text) => pattern.test(text)).length;
  // At the start.
  assertEquals(part.fail(), 1);
  assertEquals(part.sync(), 0);
  assertEquals(part.paths, ["kernel", "kernel"]);
  assertEquals(said(/EMFILE.*tried again/), 1);
  // Later.
  for (let i = 0; i < 3; i++) assertEquals(part.fail(), 1);
  assertEquals(said(/EMFILE.*tried again/), 2);
  assertEquals(part.paths, ["kernel", "kernel"], "what was carried is carried on");
  assertEquals(part.sync(), 0);
  assertEquals(said(/udp stays in user space/), 0);
  // For good.
  for (let i = 0; i < 4; i++) assertEquals(part.fail(), 1);
  assertEquals(part.fail(), 0);
  assertEquals(said(/udp stays in user space: .*EMFILE/), 1);
  assertEquals(part.sync(), 0);
  assertMatch(part.paths[0]!, /^user/);
});

/** What an agent would do to programs and hop of a host, a line each. */
async function plan(
  host: BackendHost,
  datapath: "auto" | "kernel" | "user",
  { own = OWN, ...overrides }: Partial<BackendContext> & { readonly own?: Prefix } = {},
): Promise<string[]> {
  using netlink = DryRunNetlink.open({ netns: host.namespace.path });
  const context = await host.context({ Type: "udp" }, {
    ...overrides,
    netlink,
    dryRun: netlink,
    udp: { datapath },
  });
  const device = host.netlink.link(DEVICE)!.index;
  const settings = pathSettings(context, { device, port: PORT, own });
  // It looks at once, while the thread is there, and compares later.
  const { lines } = host.namespace.enter(() => ({
    lines: planPrograms(context, DEVICE, settings),
  }));
  const programs = await lines;
  const devices = netlink.changes.flatMap((change) =>
    describeChange(change, (index) => netlink.nameOf(index))
  );
  return [...devices, ...programs].map(({ sign, text }) => `${sign} ${text}`);
}

const HOP_DEVICE = "device flannel0-gro type vxlan id 8285 dstport 28285 nolearning mtu 1279 up";
const ATTACHED = [
  `+ ${HOP_DEVICE}`,
  "+ eBPF program decapsulate dev eth1 ingress",
  "+ eBPF program encapsulate dev flannel0 egress",
  "+ eBPF program hop_arrival dev flannel0-gro ingress",
];

Deno.test("planPrograms() tells which programs would be attached, exchanged and taken off, with the hop", async () => {
  await using lab = await BackendLab.make();
  const { host } = lab;
  using part = await Part.make(host);
  const before = await host.state();
  assertEquals(await plan(host, "auto"), ATTACHED);
  assertEquals(await plan(host, "kernel"), ATTACHED);
  assertEquals(await plan(host, "user"), []);
  // As an agent has left it that was to stay in user space.
  await host.namespace.ip("route", "add", NETWORK, "dev", DEVICE, "proto", "102");
  assertEquals(await plan(host, "auto"), ATTACHED);
  await host.namespace.ip("route", "del", NETWORK);
  assertEquals(await host.state(), before);

  part.sync();
  assertEquals(await plan(host, "auto"), []);
  const detached = ATTACHED.map((line) => line.replace("+", "-"));
  assertEquals(await plan(host, "user"), detached);
  const own = Prefix.parse("10.20.7.0/24")!;
  const exchanged = [
    "- eBPF program decapsulate dev eth1 ingress",
    "+ eBPF program decapsulate dev eth1 ingress",
    "- eBPF program hop_arrival dev flannel0-gro ingress",
    "+ eBPF program hop_arrival dev flannel0-gro ingress",
  ];
  assertEquals(await plan(host, "auto", { own }), exchanged, "our subnet is in two of them");

  await host.namespace.ip("link", "add", "eth2", "type", "veth", "peer", "name", "eth3");
  const { index: second, mtu } = host.netlink.link("eth2")!;
  const external = { ...host.external, name: "eth2", index: second, mtu };
  assertEquals(await plan(host, "kernel", { external }), [
    "- eBPF program decapsulate dev eth1 ingress",
    "+ eBPF program decapsulate dev eth2 ingress",
    "- eBPF program encapsulate dev flannel0 egress",
    "+ eBPF program encapsulate dev flannel0 egress",
  ]);
});

Deno.test("planPrograms() foresees what a hop would be repaired by", async () => {
  await using lab = await BackendLab.make();
  const { host } = lab;
  using part = await Part.make(host);
  part.sync();
  const [made, , , attached] = ATTACHED;
  const mac = host.netlink.link("flannel0-gro")!.mac!;
  const state = `device flannel0-gro address ${mac} mtu 1279`;
  await host.namespace.ip("link", "set", "flannel0-gro", "down");
  assertEquals(await plan(host, "auto"), [`- ${state} down`, `+ ${state} up`]);
  await host.namespace.ip("link", "del", "flannel0-gro");
  assertEquals(await plan(host, "auto"), [made, attached]);
  // Another's device in its place, as the agent is to do without it.
  await host.namespace.ip("link", "add", "flannel0-gro", "type", "bridge");
  assertEquals(await plan(host, "auto"), []);
  part.sync();
  assertEquals(await plan(host, "auto"), []);
  await host.namespace.ip("link", "del", "flannel0-gro");
  assertEquals(await plan(host, "auto"), [], "what could not be had is no change to come");
});

Deno.test("planPrograms() foresees that there can be no programs, and that those that are there go", async () => {
  await using lab = await BackendLab.make();
  const { host } = lab;
  using part = await Part.make(host);
  // As a tunnel is, not an Ethernet interface.
  const { index, name, mtu } = host.netlink.link(DEVICE)!;
  const external = { ...host.external, name, index, mtu };
  assertEquals(await plan(host, "auto", { external }), []);
  part.sync();
  await assertRejects(() => plan(host, "kernel", { external }), Error, "not an Ethernet interface");
  const detached = ATTACHED.map((line) => line.replace("+", "-"));
  assertEquals(await plan(host, "auto", { external }), detached);
});

Deno.test("UdpKernel leaves a peer to user space whose route the kernel has no room for, until it has", async () => {
  await using lab = await BackendLab.make();
  using part = await Part.make(lab.host);
  part.sync();
  using log = captureLog();
  const late = peer("10.20.4.0/24", "172.28.128.103");
  const moved = { ...part.peers[0]!, publicIP: late.publicIP };
  part.do(() => {
    using routes = new BpfMap(openPin(`${pinDirectory(DEVICE)}/routes`)!, MAPS.routes);
    const fillers = Array.from(
      { length: MAPS.routes.maxEntries - part.peers.length },
      (_, i) => routeKey(new Prefix(i * 4096, 20)),
    );
    const filler = routeValue({ ...late, carried: false });
    for (const key of fillers) routes.update(key, filler);
  });
  part.peers.push(late);
  assertEquals(part.do((kernel) => kernel.setPeer(late)), 1);
  assertEquals(part.do((kernel) => kernel.setPeer(late)), 1);
  const refused = "user (the kernel has not taken its route)";
  assertEquals(part.paths, ["kernel", "kernel", refused]);
  assertEquals(log.lines.filter((line) => /ENOSPC.*tried again/.test(line)).length, 1);
  part.peers[0] = moved;
  part.do((kernel) => kernel.setPeer(moved));
  const holder = () => part.do(() => kernelRouteTo(DEVICE, moved.subnet.address)?.publicIP);
  assert([moved.publicIP, undefined].includes(holder()), "never its former one");

  assertEquals(part.sync(), 0);
  assertEquals(part.paths, ["kernel", "kernel", "kernel"]);
});
