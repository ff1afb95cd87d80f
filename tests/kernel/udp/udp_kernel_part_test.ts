/** The decision between kernel and user space as the backend makes it, on a host in a namespace. */
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { setTxOffload } from "../../../bench/udp/wire.ts";
import { type BackendHost, BackendLab, NETWORK } from "../../../backends/testing/backend_lab.ts";
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

/** A peer, which need not exist. */
function peer(subnet: string, publicIP: string): PeerSubnet {
  return { subnet: Prefix.parse(subnet)!, publicIP: parseIPv4(publicIP)! };
}

/** A host with a TUN device and its {@linkcode UdpKernel}. */
class Part implements Disposable {
  readonly peers = [peer("10.20.2.0/24", "172.28.128.101"), peer("10.20.3.0/24", "172.28.128.102")];
  readonly #host: BackendHost;
  readonly #kernel: UdpKernel;
  readonly #index: number;
  /** Calls of the user-space path's disableGro(). */
  groDisabled = 0;

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

  /** Runs the backend's calls at a start and at each sync. */
  sync() {
    return this.do((kernel) => {
      kernel.open(this.#index, { disableGro: () => this.groDisabled++ });
      return kernel.sync(OWN, this.#index, this.peers);
    });
  }

  /** Runs {@linkcode sync} while the process can open no descriptor, or `spare` ones. @param own lease */
  fail(spare = 0, own = OWN): number {
    return this.do((kernel) =>
      withFewDescriptors(spare, () => {
        kernel.open(this.#index, { disableGro: () => this.groDisabled++ });
        return kernel.sync(own, this.#index, this.peers);
      })
    );
  }

  /** Runs a step in the host's namespace. */
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

Deno.test("UdpKernel.reconsider() follows routes to peers by another interface and back", async () => {
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

Deno.test("UdpKernel leaves peers that IPsec policies cover to user space, and logs it", async () => {
  await using lab = await BackendLab.make();
  const { namespace } = lab.host;
  using part = await Part.make(lab.host);
  using log = captureLog();
  part.sync();
  const changed = () => part.do((kernel) => kernel.updatePolicies());
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
  assertEquals(log.lines.filter((line) => /IPsec policies no longer cover/.test(line)).length, 1);
});

Deno.test("UdpKernel follows the underlay's checksum offload, to all peers and back", async () => {
  await using lab = await BackendLab.make();
  const { namespace } = lab.host;
  using part = await Part.make(lab.host, []);
  part.sync();
  const reason = "user (the peer does not advertise udp-kernel)";
  assertEquals(part.paths, [reason, reason]);
  const damage = () => part.do((kernel) => kernel.damage());
  assertEquals(damage(), undefined);

  setTxOffload(namespace, "eth1", false);
  assertMatch(String(damage()), /checksum offload/);
  part.sync();
  assertEquals(part.paths, ["kernel", "kernel"]);
  assert(part.groDisabled > 0, "the kernel path cannot carry coalesced datagrams");
  assertEquals(damage(), undefined);

  setTxOffload(namespace, "eth1", true);
  assertMatch(String(damage()), /checksum offload/);
  part.sync();
  assertEquals(part.paths, [reason, reason]);
  assertEquals(damage(), undefined);

  // The agent waits for an interface that is gone, and then brings the network up again.
  await namespace.ip("link", "del", "eth1");
  assertEquals(damage(), undefined);
});

Deno.test("UdpKernel waits for an external interface that is gone, without a warning", async () => {
  await using lab = await BackendLab.make();
  using part = await Part.make(lab.host);
  await lab.host.namespace.ip("link", "del", "eth1");
  using log = captureLog();
  assertEquals(part.sync(), 1);
  assertEquals(log.lines, []);
});

/** getrlimit(2): RLIMIT_NOFILE. */
const RLIMIT_NOFILE = 7;

/**
 * Runs a step while the process can open only as many descriptors as the lowest `spare` numbers allow that
 * are free: a transient error, as a lack of memory is.
 */
function withFewDescriptors<T>(spare: number, step: () => T): T {
  const library = Deno.dlopen("libc.so.6", {
    getrlimit: { parameters: ["i32", "buffer"], result: "i32" },
    setrlimit: { parameters: ["i32", "buffer"], result: "i32" },
  });
  const { getrlimit, setrlimit } = library.symbols;
  const former = new BigUint64Array(2);
  assertEquals(getrlimit(RLIMIT_NOFILE, former), 0);
  const used = new Set(Array.from(Deno.readDirSync("/proc/self/fd"), ({ name }) => Number(name)));
  let limit = 0;
  for (let free = 0; spare > 0 && free <= spare; limit++) if (!used.has(limit)) free++;
  limit = Math.max(0, limit - 1);
  assertEquals(setrlimit(RLIMIT_NOFILE, new BigUint64Array([BigInt(limit), former[1]!])), 0);
  try {
    return step();
  } finally {
    setrlimit(RLIMIT_NOFILE, former);
    library.close();
  }
}

Deno.test("UdpKernel survives transient failures, logs each once, and ends the kernel path after five in a row", async () => {
  await using lab = await BackendLab.make();
  using part = await Part.make(lab.host);
  using log = captureLog();
  const logged = (pattern: RegExp) => log.lines.filter((text) => pattern.test(text)).length;
  // A failure at the start.
  assertEquals(part.fail(), 1);
  assertEquals(part.sync(), 0);
  assertEquals(part.paths, ["kernel", "kernel"]);
  assertEquals(logged(/EMFILE.*trying again/), 1);
  // Failures later.
  for (let i = 0; i < 3; i++) assertEquals(part.fail(), 1);
  assertEquals(logged(/EMFILE.*trying again/), 2);
  assertEquals(part.paths, ["kernel", "kernel"], "the kernel goes on with what it carried");
  assertEquals(part.sync(), 0);
  assertEquals(logged(/udp stays in user space/), 0);
  // Five in a row.
  for (let i = 0; i < 4; i++) assertEquals(part.fail(), 1);
  assertEquals(part.fail(), 0);
  assertEquals(logged(/udp stays in user space: .*EMFILE/), 1);
  assertEquals(part.sync(), 0);
  assertMatch(part.paths[0]!, /^user/);
});

Deno.test("UdpKernel goes on with the former programs when it cannot load those of other settings", async () => {
  await using lab = await BackendLab.make();
  using part = await Part.make(lab.host);
  using log = captureLog();
  assertEquals(part.sync(), 0);
  const other = Prefix.parse("10.20.9.0/24")!;
  // Each is enough for another part of the sync.
  for (let spare = 1; spare <= 4; spare++) {
    part.fail(spare, other);
    assertEquals(part.do((kernel) => kernel.features()), [KERNEL_FEATURE]);
    assertEquals(part.paths, ["kernel", "kernel"]);
    assertEquals(part.sync(), 0);
  }
  // That is behind what an agent reads of its host before.
  assert(log.lines.some((line) => /BPF_(OBJ_GET|PROG_LOAD).*EMFILE/.test(line)));
});

/** Plans the changes that an agent would make to a host's programs and GRO device, a line each. */
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
  // planPrograms() reads the host's state before its first await, while the thread is in the namespace.
  const { lines } = host.namespace.enter(() => ({
    lines: planPrograms(context, DEVICE, settings),
  }));
  const programs = await lines;
  const devices = netlink.changes.flatMap((change) =>
    describeChange(change, (index) => netlink.nameOf(index))
  );
  return [...devices, ...programs].map(({ sign, text }) => `${sign} ${text}`);
}

const GRO_DEVICE_LINE =
  "device flannel0-gro type vxlan id 8285 dstport 28285 nolearning mtu 1279 up";
const ATTACHED = [
  `+ ${GRO_DEVICE_LINE}`,
  "+ eBPF program decapsulate dev eth1 ingress",
  "+ eBPF program encapsulate dev flannel0 egress",
  "+ eBPF program gro_arrival dev flannel0-gro ingress",
];

Deno.test("planPrograms() lists programs to attach, replace and detach, and the GRO device", async () => {
  await using lab = await BackendLab.make();
  const { host } = lab;
  using part = await Part.make(host);
  const before = await host.state();
  assertEquals(await plan(host, "auto"), ATTACHED);
  assertEquals(await plan(host, "kernel"), ATTACHED);
  assertEquals(await plan(host, "user"), []);
  // The state that an agent with -udp-datapath=user leaves.
  await host.namespace.ip("route", "add", NETWORK, "dev", DEVICE, "proto", "102");
  assertEquals(await plan(host, "auto"), ATTACHED);
  await host.namespace.ip("route", "del", NETWORK);
  assertEquals(await host.state(), before);

  part.sync();
  assertEquals(await plan(host, "auto"), []);
  const detached = ATTACHED.map((line) => line.replace("+", "-"));
  assertEquals(await plan(host, "user"), detached);
  const own = Prefix.parse("10.20.7.0/24")!;
  const replaced = [
    "- eBPF program decapsulate dev eth1 ingress",
    "+ eBPF program decapsulate dev eth1 ingress",
    "- eBPF program gro_arrival dev flannel0-gro ingress",
    "+ eBPF program gro_arrival dev flannel0-gro ingress",
  ];
  assertEquals(
    await plan(host, "auto", { own }),
    replaced,
    "two programs contain this host's subnet",
  );

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

Deno.test("planPrograms() lists the repair of the GRO device", async () => {
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
  // Another program's device with the name, so the agent does without a GRO device.
  await host.namespace.ip("link", "add", "flannel0-gro", "type", "bridge");
  assertEquals(await plan(host, "auto"), []);
  part.sync();
  assertEquals(await plan(host, "auto"), []);
  await host.namespace.ip("link", "del", "flannel0-gro");
  assertEquals(
    await plan(host, "auto"),
    [],
    "an agent that did without a GRO device is not expected to create one",
  );
});

Deno.test("planPrograms() lists no programs for an unsuitable interface, and the removal of attached ones", async () => {
  await using lab = await BackendLab.make();
  const { host } = lab;
  using part = await Part.make(host);
  // A TUN device is no Ethernet interface.
  const { index, name, mtu } = host.netlink.link(DEVICE)!;
  const external = { ...host.external, name, index, mtu };
  assertEquals(await plan(host, "auto", { external }), []);
  part.sync();
  await assertRejects(() => plan(host, "kernel", { external }), Error, "not an Ethernet interface");
  const detached = ATTACHED.map((line) => line.replace("+", "-"));
  assertEquals(await plan(host, "auto", { external }), detached);
});

Deno.test("UdpKernel leaves a peer to user space while the map of routes is full", async () => {
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
  const refused = "user (the kernel refused its route)";
  assertEquals(part.paths, ["kernel", "kernel", refused]);
  assertEquals(log.lines.filter((line) => /ENOSPC.*trying again/.test(line)).length, 1);
  part.peers[0] = moved;
  part.do((kernel) => kernel.setPeer(moved));
  const holder = () => part.do(() => kernelRouteTo(DEVICE, moved.subnet.address)?.publicIP);
  assert([moved.publicIP, undefined].includes(holder()), "never its former holder");

  assertEquals(part.sync(), 0);
  assertEquals(part.paths, ["kernel", "kernel", "kernel"]);
});
