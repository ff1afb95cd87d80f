/**
 * Kernels that refuse a part of what the udp backend asks for, with the errors that they have for it: packets
 * take another path, and one line names the path or the reason.
 */
import { assertEquals, assertMatch } from "@std/assert";
import { Lab, type UnderlayHost } from "../../lab/lab.ts";
import { LabEtcd } from "../../lab/etcd/lab_etcd.ts";
import { FLANNELD, LabUnit } from "../../lab/unit.ts";
import { BACKENDS, eventually, isFullMesh, PREFIX, writeSysconfig } from "../guide.ts";

const CONFIG = BACKENDS.find(({ type }) => type === "udp")!.config;

/** Commands of linux/bpf.h; errors of asm-generic/errno-base.h and errno.h. */
const BPF_MAP_CREATE = 0;
const BPF_PROG_LOAD = 5;
const BPF_PROG_TEST_RUN = 10;
const BPF_LINK_CREATE = 28;
const EPERM = 1;
const EACCES = 13;
const EINVAL = 22;
const ENOSYS = 38;

const ENOPROTOOPT = 92;

const [BPF, IOCTL, SETSOCKOPT] = {
  x86_64: [321, 16, 54] as const,
  aarch64: [280, 29, 208] as const,
}[Deno.build.arch];

/** linux/if_tun.h, linux/in.h: options that request GSO packets from a device, and UDP GSO of a socket. */
const TUNSETOFFLOAD = 0x400454d0;
const SOL_UDP = 17;

/** A system call that is answered with an error. */
interface Refusal {
  /** Number of the call in asm/unistd.h. */
  readonly call: number;
  readonly error: number;
  /** Refused with this value of one argument alone, counted from 0. */
  readonly argument?: readonly [index: number, value: number];
}

function bpf(error: number, command?: number): Refusal {
  return { call: BPF, error, ...(command !== undefined && { argument: [0, command] }) };
}

/**
 * A seccomp(2) filter that refuses some system calls. Codes of linux/bpf_common.h; offsets of
 * `struct seccomp_data`: the call's number at 0, arguments of 8 bytes from 16 on.
 */
function filter(...refusals: readonly Refusal[]): Uint8Array<ArrayBuffer> {
  const load = (offset: number) => [0x20, 0, 0, offset];
  const unlessEqual = (value: number, skip: number) => [0x15, 0, skip, value];
  const leave = (action: number) => [0x06, 0, 0, action];
  const lines = refusals.flatMap(({ call, error, argument }) => {
    const only = argument === undefined
      ? []
      : [load(16 + argument[0] * 8), unlessEqual(argument[1], 1)];
    // SECCOMP_RET_ERRNO
    return [load(0), unlessEqual(call, only.length + 1), ...only, leave(0x00050000 | error)];
  });
  lines.push(leave(0x7fff0000)); // SECCOMP_RET_ALLOW
  const bytes = new Uint8Array(new ArrayBuffer(lines.length * 8));
  const view = new DataView(bytes.buffer);
  for (const [i, [code, yes, no, value]] of lines.entries()) {
    view.setUint16(i * 8, code!, true);
    bytes.set([yes!, no!], i * 8 + 2);
    view.setUint32(i * 8 + 4, value!, true);
  }
  return bytes;
}

interface Cluster extends AsyncDisposable {
  readonly hosts: readonly [UnderlayHost, UnderlayHost];
  /** The agent's command line on the second host, under a filter. */
  readonly command: readonly string[];
}

/** Two hosts; the first has its agent. */
async function start(seccomp: Uint8Array): Promise<Cluster> {
  await using stack = new AsyncDisposableStack();
  const lab = stack.use(await Lab.start({ hosts: 2 }));
  const hosts = lab.hosts as unknown as [UnderlayHost, UnderlayHost];
  const etcd = stack.use(await LabEtcd.start(hosts[0]));
  await etcd.set("v3", `${PREFIX}/config`, CONFIG);
  await writeSysconfig(hosts[0], etcd);
  stack.use(await LabUnit.start(hosts[0]));
  await Deno.writeFile(hosts[1].path("/run/seccomp"), seccomp);
  const owned = stack.move();
  return {
    hosts,
    command: [
      ...["setpriv", "--seccomp-filter", "/run/seccomp", FLANNELD, "-iface=eth1"],
      ...[`-etcd-endpoints=${etcd.endpoint}`, `-etcd-prefix=${PREFIX}`],
    ],
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** Returns the host's reported path to its peer. */
async function pathOf(host: UnderlayHost): Promise<string> {
  const status = JSON.parse((await host.run([FLANNELD, "status", "-json"])).stdout);
  return status.networks[0].peers.list[0].path;
}

const REFUSALS: readonly (readonly [as: string, seccomp: Uint8Array, says: RegExp])[] = [
  ["a kernel without bpf(2)", filter(bpf(ENOSYS)), /BPF_\w+.*: ENOSYS/],
  [
    "a locked-down kernel that lets nobody load programs",
    filter(bpf(EPERM, BPF_PROG_LOAD)),
    /BPF program .*: EPERM/,
  ],
  [
    "an old kernel whose RLIMIT_MEMLOCK is too low",
    filter(bpf(EPERM, BPF_MAP_CREATE)),
    /BPF_MAP_CREATE .*: EPERM/,
  ],
  [
    "a kernel whose verifier refuses programs",
    filter(bpf(EACCES, BPF_PROG_LOAD)),
    /BPF program .*: EACCES/,
  ],
  [
    "a kernel without one of the helpers",
    filter(bpf(EINVAL, BPF_PROG_LOAD)),
    /BPF program .*: EINVAL/,
  ],
];

for (const [as, seccomp, says] of REFUSALS) {
  Deno.test(`udp stays in user space where bpf(2) answers as in ${as}`, async () => {
    await using cluster = await start(seccomp);
    const { hosts, command } = cluster;
    {
      await using agent = await hosts[1].spawn(command);
      const [line] = await agent.waitFor(/udp stays in user space: .*/);
      assertMatch(line, says);
      await agent.waitFor(/Wrote subnet file/);
      await eventually("a full mesh", () => isFullMesh(hosts));
      assertEquals(agent.output.match(/stays in user space/g)?.length, 1, agent.output);
      assertEquals(agent.output.match(/^[EF]\d{4} .*|.* not removed: .*/gm), null);
      assertEquals(await pathOf(hosts[1]), "user (this host has no kernel path)");
      assertMatch(await pathOf(hosts[0]), /^user/);
      const pins = await hosts[1].run(["find", "/sys/fs/bpf/flanneld", "-type", "f"]);
      assertEquals(pins.stdout, "");
    }
    const asked = await hosts[1].run([...command, "-udp-datapath=kernel"]);
    assertEquals(asked.code, 1);
    assertMatch(asked.stderr, says);
  });
}

Deno.test("udp attaches its programs by clsact where bpf(2) makes no TCX links, as before Linux 6.6", async () => {
  await using cluster = await start(filter(bpf(EINVAL, BPF_LINK_CREATE)));
  const { hosts, command } = cluster;
  await using agent = await hosts[1].spawn(command);
  await agent.waitFor(/the kernel carries packets of flannel0 \(eBPF by clsact\)/);
  await agent.waitFor(/Wrote subnet file/);
  for (const host of hosts) {
    await eventually("the kernel's path", async () => await pathOf(host) === "kernel");
  }
  await eventually("a full mesh", () => isFullMesh(hosts));
  const filters = await hosts[1].exec(["tc", "filter", "show", "dev", "eth1", "ingress"]);
  assertMatch(filters, /bpf/);
});

/** CapabilityBoundingSet of the unit. */
const BOUND = ["setpriv", "--bounding-set=-all,+net_admin,+net_raw,+bpf,+perfmon"];

Deno.test("udp takes TCP to containers by its device where probes pass, or none can be sent, with the unit's privileges", async () => {
  await using cluster = await start(filter(bpf(EPERM, BPF_PROG_TEST_RUN)));
  const { hosts, command } = cluster;
  const run = async (command: readonly string[], says: RegExp) => {
    await using agent = await hosts[1].spawn([...BOUND, ...command]);
    await agent.waitFor(says);
    await agent.waitFor(/Wrote subnet file/);
    await eventually("a full mesh", () => isFullMesh(hosts));
  };
  const open = /TCP to containers takes the GRO path by flannel0-gro/;
  const unfiltered = command.slice(command.indexOf(FLANNELD));
  await run(command, open);
  await hosts[1].exec([FLANNELD, "cleanup"]);
  const drop = ["INPUT", "-p", "udp", "--dport", "8285", "-j", "DROP"];
  await hosts[1].exec(["iptables", "-A", ...drop]);
  await run(unfiltered, /no packet leaves flannel0-gro/);
  await hosts[1].exec(["iptables", "-D", ...drop]);
  await run(unfiltered, open);
  // Without a probe it is opened as if one had passed, for nobody can know better.
  await hosts[1].exec([FLANNELD, "cleanup"]);
  await hosts[1].exec(["iptables", "-A", ...drop]);
  await run(command, open);
});

Deno.test("udp carries packets when the kernel refuses every offload, and reports the remaining features", async () => {
  await using cluster = await start(filter(
    { call: IOCTL, error: EINVAL, argument: [1, TUNSETOFFLOAD] },
    { call: SETSOCKOPT, error: ENOPROTOOPT, argument: [1, SOL_UDP] },
  ));
  const { hosts, command } = cluster;
  await using agent = await hosts[1].spawn([...command, "-udp-datapath=user"]);
  await agent.waitFor(/tunnel on flannel0, UDP port 8285: TCP merging, SIMD checksums$/m);
  await agent.waitFor(/Wrote subnet file/);
  await eventually("a full mesh", () => isFullMesh(hosts));
  const status = JSON.parse((await hosts[1].run([FLANNELD, "status", "-json"])).stdout);
  assertEquals(status.networks[0].backend.features, "TCP merging, SIMD checksums");
});
