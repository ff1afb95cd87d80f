/** The udp backend's kernel path in a running cluster: who goes by it, and what it outlives. */
import { assert, assertEquals, assertMatch, assertNotMatch } from "@std/assert";
import { Lab, type UnderlayHost } from "../../lab/lab.ts";
import { LabEtcd } from "../../lab/etcd/lab_etcd.ts";
import { lostReplies } from "../../lab/lost_replies.ts";
import { FLANNELD, LabUnit } from "../../lab/unit.ts";
import { closeDescriptor } from "../../../mod/sys/mod.ts";
import {
  BACKENDS,
  eventually,
  isFullMesh,
  overlayAddress,
  PREFIX,
  subnetOf,
  writeSysconfig,
} from "../guide.ts";

const CONFIG = BACKENDS.find(({ type }) => type === "udp")!.config;
const AUTO = "-iface=eth1";
const USER = "-iface=eth1 -udp-datapath=user";
const TRANSFER = new URL("../../kernel/udp/udp_transfer.ts", import.meta.url).pathname;

/** Some times as long as from one probe to the next, in milliseconds. */
const TIMEOUT_MS = 120_000;

/** Two hosts with their agents. */
interface Cluster extends AsyncDisposable {
  readonly hosts: readonly [UnderlayHost, UnderlayHost];
  readonly etcd: LabEtcd;
  readonly units: [LabUnit, LabUnit];
  /** Ends an agent and starts another on its host. */
  restart(host: 0 | 1, end: "stop" | "kill", options: string): Promise<void>;
}

async function start(options: readonly [string, string]): Promise<Cluster> {
  await using stack = new AsyncDisposableStack();
  const lab = stack.use(await Lab.start({ hosts: 2 }));
  const hosts = lab.hosts as unknown as [UnderlayHost, UnderlayHost];
  const etcd = stack.use(await LabEtcd.start(hosts[0]));
  await etcd.set("v3", `${PREFIX}/config`, CONFIG);
  const startUnit = async (host: 0 | 1, options: string) => {
    await writeSysconfig(hosts[host], etcd, { options });
    return stack.use(await LabUnit.start(hosts[host]));
  };
  const units: [LabUnit, LabUnit] = [
    await startUnit(0, options[0]),
    await startUnit(1, options[1]),
  ];
  await eventually("a full mesh", () => isFullMesh(hosts));
  const owned = stack.move();
  const restart = async (host: 0 | 1, end: "stop" | "kill", options: string) => {
    await units[host][end]();
    await writeSysconfig(hosts[host], etcd, { options });
    units[host] = owned.use(await LabUnit.start(hosts[host]));
  };
  return { hosts, etcd, units, restart, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

/** Returns the number of packets that the agent's process has read: flannel0's transmit counter. */
async function readByAgent(host: UnderlayHost): Promise<number> {
  const [link] = JSON.parse(await host.exec(["ip", "-j", "-s", "link", "show", "flannel0"]));
  return link.stats64.tx.packets;
}

/** True when pings go both ways without any agent seeing them. */
async function isByKernel([a, b]: readonly [UnderlayHost, UnderlayHost]): Promise<boolean> {
  const counters = () => Promise.all([a, b].map(readByAgent));
  const before = await counters();
  if (await a.ping(await overlayAddress(b), { count: 1 }) !== 1) return false;
  return String(await counters()) === String(before);
}

/** Returns the output of `flanneld status`. */
async function statusOf(host: UnderlayHost): Promise<string> {
  return (await host.run([FLANNELD, "status", "-json", "-peers=all"])).stdout;
}

/** Sends random bytes by TCP and compares checksums: 32 MB, or, with an action, for as long as it takes. */
async function transfer(
  [from, to]: readonly [UnderlayHost, UnderlayHost],
  action?: () => Promise<void>,
): Promise<void> {
  const command = [Deno.execPath(), "run", "-A", "--no-check", "--no-lock", TRANSFER];
  const target = [await overlayAddress(to), "5001"];
  const env = { DENO_DIR: Deno.env.get("DENO_DIR") ?? `${Deno.env.get("HOME")}/.cache/deno` };
  const receiver = await to.spawn([...command, "receive", ...target], { env });
  await receiver.waitFor(/listening/);
  const amount = action === undefined ? ["32"] : [];
  const sender = await from.spawn([...command, "send", ...target, ...amount], { env });
  if (action !== undefined) {
    await sender.waitFor(/sending/);
    await action();
    sender.signal("SIGTERM");
  }
  const [sent, received] = await Promise.all([sender, receiver].map(async (process) => {
    await process.status;
    return process.output.trim().split("\n").at(-1);
  }));
  assertMatch(sent!, /^[0-9a-f]{64}$/);
  assertEquals(received, sent);
}

Deno.test("udp goes through the kernel between agents that do alike, and loses no packet when they are killed", async () => {
  await using cluster = await start([AUTO, AUTO]);
  const { hosts, units, restart } = cluster;
  const [here, there] = hosts;
  assertMatch(
    units[0].process.output,
    /the kernel carries packets of flannel0 \(eBPF by (TCX|clsact)\)/,
  );
  await eventually("the kernel's path", () => isByKernel(hosts));
  const subnet = await subnetOf(there);
  const target = await overlayAddress(there);

  for (const end of ["kill", "stop"] as const) {
    const lost = await lostReplies(here, target, async () => {
      await restart(1, end, AUTO);
      await restart(0, end, AUTO);
    });
    assertEquals(lost, 0, `after ${end}`);
  }
  assertEquals(await subnetOf(there), subnet);

  // With both agents gone the kernels go on alone.
  for (const unit of units) await unit.kill();
  assertEquals(await here.ping(target, { count: 3 }), 3);
  await transfer(hosts);
});

Deno.test("udp moves bytes unharmed while agents are killed and started again", async () => {
  await using cluster = await start([AUTO, AUTO]);
  const { hosts, restart } = cluster;
  await eventually("the kernel's path", () => isByKernel(hosts));
  await transfer(hosts, async () => {
    await restart(0, "kill", AUTO);
    await restart(1, "kill", AUTO);
    await eventually("the kernel's path", () => isByKernel(hosts));
  });
});

Deno.test("udp switches to the kernel and back, live and under load, as a peer's agent changes", async () => {
  await using cluster = await start([AUTO, USER]);
  const { hosts, restart } = cluster;
  const [here, there] = hosts;
  // Whose kernel does not unwrap gets finished packets, from user space.
  assert(!await isByKernel(hosts));
  await transfer(hosts);
  await transfer([there, here]);

  await transfer(hosts, async () => {
    await restart(1, "stop", AUTO);
    await eventually("the kernel's path", () => isByKernel(hosts));
  });
  await transfer([there, here], () => restart(0, "stop", USER));
  await eventually("user space again", async () => !await isByKernel(hosts));
  await eventually("a full mesh", () => isFullMesh(hosts));
  await transfer(hosts);
  // Unused programs do not stay in the kernel.
  const pins = await here.run(["find", "/sys/fs/bpf/flanneld", "-type", "f"]);
  assertEquals(pins.stdout, "");
});

Deno.test("udp follows a route to a peer to another interface, and back into the kernel", async () => {
  await using cluster = await start([AUTO, AUTO]);
  const { hosts } = cluster;
  const [here, there] = hosts;
  await eventually("the kernel's path", () => isByKernel(hosts));
  const isUser = async () => /no route to it by eth1/.test(await statusOf(here));
  await here.exec(["ip", "route", "add", `${there.address}/32`, "dev", "eth0"]);
  await eventually("user space", isUser);
  await here.exec(["ip", "route", "del", `${there.address}/32`]);
  await eventually("the kernel again", async () => !await isUser());
  await eventually("the kernel's path", () => isByKernel(hosts));
});

Deno.test("udp closes the GRO path while the firewall drops its packets, and logs each change once", async () => {
  await using cluster = await start([AUTO, AUTO]);
  const { hosts, units, restart } = cluster;
  const rule = (action: string) =>
    hosts[1].exec(["iptables", action, "INPUT", "-p", "udp", "--dport", "8285", "-j", "DROP"]);
  await rule("-I");
  // A device in use stays until packets are lost. A rebooted host has none in use.
  await units[1].stop();
  await hosts[1].exec([FLANNELD, "cleanup"]);
  await restart(1, "stop", AUTO);
  const agent = units[1].process;
  const closed = /no packet leaves flannel0-gro: .*UDP port/;
  const open = /TCP to containers takes the GRO path by flannel0-gro/;
  await agent.waitFor(closed);
  await eventually("the kernel's path", () => isByKernel(hosts));
  const dropped = async () => {
    const counters = await hosts[1].exec(["iptables", "-nvxL", "INPUT"]);
    return Number(/^\s*(\d+).* DROP .*dpt:8285/m.exec(counters)![1]);
  };
  const before = await dropped();
  await eventually("another probe", async () => await dropped() > before, TIMEOUT_MS);
  assertNotMatch(agent.output, open);
  await rule("-D");
  await agent.waitFor(open, { timeout: TIMEOUT_MS });
  const said = (pattern: RegExp) => agent.output.match(new RegExp(pattern, "g"))?.length;
  assertEquals([said(closed), said(open), said(/Repairing/)], [1, 1, 1], agent.output);
});

Deno.test("udp restores programs and pins that another process removed", async () => {
  await using cluster = await start([AUTO, AUTO]);
  const { hosts, units } = cluster;
  const [here] = hosts;
  await eventually("the kernel's path", () => isByKernel(hosts));
  const pins = async () =>
    (await here.run(["find", "/sys/fs/bpf/flanneld", "-type", "f"])).stdout.split("\n").sort();
  const before = await pins();
  // Links of TCX are pinned, too; filters of clsact need no pin.
  const isTcx = units[0].process.output.includes("(eBPF by TCX)");
  assertEquals(before.length, isTcx ? 9 : 6, before.join(" "));
  await here.exec(["sh", "-c", "rm -r /sys/fs/bpf/flanneld"]);
  await eventually("the pins", async () => String(await pins()) === String(before));
  assertMatch(units[0].process.output, /Repairing: .* unpinned/);
  for (const unit of units) await unit.kill();
  assertEquals(await here.ping(await overlayAddress(hosts[1]), { count: 3 }), 3);
});

Deno.test("udp mounts the BPF file system again that another process unmounted, and pins again, while peers come and go", async () => {
  await using cluster = await start([AUTO, AUTO]);
  const { hosts, units, etcd } = cluster;
  const [here] = hosts;
  await eventually("the kernel's path", () => isByKernel(hosts));
  const pins = async () =>
    (await here.run(["find", "/sys/fs/bpf/flanneld", "-type", "f"])).stdout.split("\n").length - 1;
  const before = await pins();
  // The host's own, and what the machine may have below it.
  await here.exec(["sh", "-c", "while umount /sys/fs/bpf; do :; done 2> /dev/null"]);
  await eventually("the pins", async () => await pins() === before);
  await eventually("a full mesh", () => isFullMesh(hosts));
  await eventually("the kernel's path", () => isByKernel(hosts));
  assertMatch(units[0].process.output, /Repairing: .* unpinned/);
  const lease = { PublicIP: "172.28.128.199" };
  await etcd.set("v3", `${PREFIX}/subnets/10.20.199.0-24`, JSON.stringify(lease));
  await units[0].process.waitFor(/Subnet added: 10\.20\.199\.0\/24/);
  for (const unit of units) await unit.kill();
  assertEquals(await here.ping(await overlayAddress(hosts[1]), { count: 3 }), 3);
});

/** Mounts a BPF file system that takes nothing. */
const READ_ONLY = ["mount", "-t", "bpf", "-o", "ro", "bpf", "/sys/fs/bpf"];

Deno.test("udp stays in user space when the BPF file system is read-only, and reports that in one line", async () => {
  await using cluster = await start([AUTO, USER]);
  const { hosts, units, restart } = cluster;
  await hosts[1].exec(READ_ONLY);
  await restart(1, "stop", AUTO);
  const agent = units[1].process;
  await eventually("a full mesh", () => isFullMesh(hosts));
  assertMatch(agent.output, /udp stays in user space: mkdir .*: EROFS: read-only file system/);
  assertEquals(agent.output.match(/user space: |udp in the kernel/g)?.length, 1, agent.output);
});

Deno.test("udp switches to user space, with address and route, when nothing can be pinned any more", async () => {
  await using cluster = await start([AUTO, AUTO]);
  const { hosts, units } = cluster;
  const [here] = hosts;
  await eventually("the kernel's path", () => isByKernel(hosts));
  await here.exec(["umount", "/sys/fs/bpf"]);
  await here.exec(READ_ONLY);
  await here.exec(["ip", "address", "flush", "dev", "flannel0"]);
  await units[0].process.waitFor(/udp stays in user space: .*EROFS/);
  await eventually("a full mesh", () => isFullMesh(hosts));
  await eventually("user space", async () => !await isByKernel(hosts));
  await transfer([hosts[1], here]);
  assertNotMatch(units[0].process.output, /Error|defect/);
});

Deno.test("udp stays in user space when the kernel refuses programs, and reports that in one line", async () => {
  await using cluster = await start([AUTO, AUTO]);
  const { hosts, etcd, units } = cluster;
  await units[1].kill();
  // A host whose agent may administer the network, and no more.
  const flags = [
    ...[`-etcd-endpoints=${etcd.endpoint}`, `-etcd-prefix=${PREFIX}`, "-iface=eth1"],
    ...["-subnet-file=/run/flannel/subnet.env"],
  ];
  const command = ["setpriv", "--bounding-set=-bpf,-sys_admin,-perfmon", FLANNELD, ...flags];
  const agent = await hosts[1].spawn(command);
  await agent.waitFor(/udp stays in user space: .*EPERM/);
  await eventually("a full mesh", () => isFullMesh(hosts));
  assertEquals(agent.output.match(/udp stays in user space/g)?.length, 1);
  agent.signal("SIGTERM");
  await agent.status;

  const asked = await hosts[1].run([...command, "-udp-datapath=kernel"]);
  assertEquals(asked.code, 1);
  assertMatch(asked.stderr, /EPERM/);
  assertNotMatch(asked.stderr, /defect/);
});

Deno.test("flanneld cleanup removes udp's programs from the kernel, and withdraws the feature for peers", async () => {
  await using cluster = await start([AUTO, AUTO]);
  const { hosts, units } = cluster;
  const [here, there] = hosts;
  await eventually("the kernel's path", () => isByKernel(hosts));
  await units[0].stop();
  const address = await overlayAddress(here);
  assertEquals(await there.ping(address), 1);
  assertNotMatch(await statusOf(there), PASSED_OVER);
  const dry = await here.run([FLANNELD, "cleanup", "-dry-run"]);
  const { stdout, stderr } = await here.run([FLANNELD, "cleanup"]);
  assertEquals(dry.stdout.replaceAll("would remove", "removed"), stdout);
  assertMatch(stdout, /eBPF programs of flannel0/);
  assertMatch(
    stdout,
    /^removed udp-kernel from the node record of 172\.28\.128\.100 in etcd v3 at /m,
  );
  assertEquals(stderr, "");
  await eventually("user space", async () => PASSED_OVER.test(await statusOf(there)));
  assertEquals((await here.run(["find", "/sys/fs/bpf/flanneld", "-type", "f"])).stdout, "");
  // Packets of the peer now meet no program and no socket: the host answers with ICMP errors.
  const before = await icmpErrors(here);
  await there.ping(address);
  assert(await icmpErrors(here) > before);
});

Deno.test("flanneld cleanup works without the store, and reports the effect on peers", async () => {
  await using cluster = await start([AUTO, AUTO]);
  const { hosts: [here, there], units, etcd } = cluster;
  await eventually("the kernel's path", () => isByKernel(cluster.hosts));
  await units[0].stop();
  const record = () => etcd.get("v3", `${PREFIX}/agents/${here.address}`);
  assertMatch(String(await record()), /udp-kernel/);
  const away = [FLANNELD, "cleanup", "-etcd-endpoints=http://127.0.0.1:1"];
  const { code, stdout } = await here.run(away);
  assertEquals(code, 0);
  assertMatch(stdout, /^removed eBPF programs of flannel0$/m);
  assertMatch(stdout, /^kept the node record's features of these programs: .* up to 24 h /m);
  assertMatch(String(await record()), /udp-kernel/);

  const again = await here.run([FLANNELD, "cleanup"]);
  assertEquals(again.code, 0);
  assertMatch(again.stdout, /^removed udp-kernel from the node record of /);
  assertNotMatch(String(await record()), /udp-kernel/);
  await eventually("user space", async () => PASSED_OVER.test(await statusOf(there)));
});

/** Status of a peer that does not accept packets with pending offloads. */
const PASSED_OVER = /the peer does not advertise udp-kernel/;

/** How many "destination unreachable" a host has sent. */
async function icmpErrors(host: UnderlayHost): Promise<number> {
  const text = await host.exec(["nstat", "-asz", "IcmpOutDestUnreachs"]);
  return Number(/IcmpOutDestUnreachs\s+(\d+)/.exec(text)![1]);
}

Deno.test("no datagram leaves in clear text to a peer that an IPsec policy covers", async () => {
  await using cluster = await start([AUTO, AUTO]);
  const { hosts } = cluster;
  const [host, peer] = hosts;
  await eventually("packets by the kernel", () => isByKernel(hosts));
  const policy = ["src", `${host.address}/32`, "dst", `${peer.address}/32`, "dir", "out"];
  const esp = ["tmpl", "proto", "esp", "mode", "transport"];
  await host.exec(["ip", "xfrm", "policy", "add", ...policy, ...esp]);
  await eventually("user space", async () => /IPsec policy/.test(await statusOf(host)));

  // There is no key, so user space's datagrams go nowhere; those of the eBPF programs went in clear text.
  const filter = `src ${host.address} and udp port 8285`;
  await using capture = await peer.spawn([
    "tcpdump",
    "-l",
    "-n",
    "--immediate-mode",
    "-i",
    "eth1",
    filter,
  ]);
  await capture.waitFor(/listening on eth1/);
  assertEquals(await host.ping(await overlayAddress(peer), { count: 2 }), 0);
  assertNotMatch(capture.output, /UDP, length/);

  await host.exec(["ip", "xfrm", "policy", "flush"]);
  await eventually("packets by the kernel again", () => isByKernel(hosts));
  await capture.waitFor(/UDP, length 84/);
});

for (const [holds, device] of [["for a moment", "flannel0"], ["for good", "flannel1"]] as const) {
  Deno.test(`udp changes the network although another process holds its device ${holds}`, async () => {
    await using cluster = await start([AUTO, AUTO]);
    const { hosts, etcd, units } = cluster;
    const [, there] = hosts;
    using held = new DisposableStack();
    held.use(holdTun(units[1].process.pid));
    const changed = units[1].process.waitFor(/tunnel on flannel\d/, {
      from: units[1].process.mark(),
    });
    await etcd.set("v3", `${PREFIX}/config`, CONFIG.replace("10.20.", "10.30."));
    await units[1].process.waitFor("Network config changed");
    if (holds === "for a moment") {
      await new Promise((resolve) => setTimeout(resolve, 1_000));
      held.dispose();
    }
    await changed;
    await eventually("a full mesh", () => isFullMesh(hosts));
    const links = await there.exec(["ip", "-br", "link"]);
    assertEquals(links.match(/^flannel\S+/gm), [device, `${device}-gro`]);
    // The pins of the programs that take datagrams from eth1.
    const pins = "ls /sys/fs/bpf/flanneld | grep _$(stat -Lc %i /proc/self/ns/net)";
    assertMatch(await there.exec(["sh", "-c", pins]), new RegExp(`^${device}_\\d+\n$`));
  });
}

/**
 * Takes a copy of a process's descriptor of its TUN device, as each child process has one from fork to execve(2).
 *
 * @returns the copy, which closes it
 */
function holdTun(pid: number): Disposable {
  const library = Deno.dlopen("libc.so.6", {
    syscall: { parameters: ["i64", "i64", "i64", "i64"], result: "i64" },
  });
  // Of asm-generic/unistd.h: pidfd_open(2) and pidfd_getfd(2).
  const [PIDFD_OPEN, PIDFD_GETFD] = [434n, 438n];
  const { syscall } = library.symbols;
  const fds = [...Deno.readDirSync(`/proc/${pid}/fd`)].map(({ name }) => name);
  const tun = fds.find((name) => Deno.readLinkSync(`/proc/${pid}/fd/${name}`) === "/dev/net/tun")!;
  const process = syscall(PIDFD_OPEN, BigInt(pid), 0n, 0n);
  const copy = Number(syscall(PIDFD_GETFD, process, BigInt(tun), 0n));
  assert(copy >= 0);
  closeDescriptor(Number(process));
  library.close();
  return { [Symbol.dispose]: () => closeDescriptor(copy) };
}
