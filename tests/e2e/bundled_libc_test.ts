import { assert, assertEquals, assertMatch } from "@std/assert";
import { basename } from "@std/path";
import { bundleLibc, LIBRARIES } from "../../scripts/build/bundled_libc.ts";
import { Lab, type UnderlayHost } from "../lab/lab.ts";
import { LabEtcd } from "../lab/etcd/lab_etcd.ts";
import type { LabProcess } from "../lab/process.ts";
import { LabSystemd } from "../lab/systemd.ts";
import { CONFIG, eventually, PREFIX, writeSysconfig } from "./guide.ts";
import { LabUnit } from "../lab/unit.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const SYSTEMD_219 = `${ROOT}scripts/systemd/systemd-219`;

/** The last system call of Linux 3.10 on x86_64, finit_module; and one that is newer than any kernel of today. */
const [LAST_CALL, NEWEST_CALL] = [313, 500];

/** enosys(1): answers ENOSYS to every system call that CentOS 7 does not have. */
const ON_LINUX_3_10 = [
  "enosys",
  ...Array.from({ length: NEWEST_CALL - LAST_CALL }, (_, i) => `--syscall=${LAST_CALL + 1 + i}`),
];

/** Devices by their numbers, linux/Documentation/admin-guide/devices.txt. */
const DEVICES = { null: [1, 3], random: [1, 8], urandom: [1, 9], "net/tun": [10, 200] } as const;

/** The command of -on-subnet-change. */
const HOOK = "#!/bin/sh\nenv > /run/hook-environment\ncat /proc/self/maps > /run/hook-maps\n";

const work = await Deno.makeTempDir({ prefix: "flanneld-bundled-test-" });
globalThis.addEventListener("unload", () => Deno.removeSync(work, { recursive: true }));
const root = `${work}/root`;
const { executable, libraries } = await bundleLibc(`${ROOT}dist/flanneld`, root);
await makeBareRoot();

/** Adds a shell to the executable and its libraries, and the directories that a host has: no C library. */
async function makeBareRoot(): Promise<void> {
  for (const name of ["bin", "proc", "sys", "tmp", "run", "etc", "dev/net"]) {
    await Deno.mkdir(`${root}/${name}`, { recursive: true });
  }
  await Deno.copyFile("/usr/bin/busybox", `${root}/bin/busybox`);
  for (const name of ["sh", "env", "cat"]) await Deno.symlink("busybox", `${root}/bin/${name}`);
  for (const [name, [major, minor]] of Object.entries(DEVICES)) {
    const { success } = await new Deno.Command("mknod", {
      args: ["-m", "666", `${root}/dev/${name}`, "c", String(major), String(minor)],
    }).output();
    assert(success, name);
  }
  // A name that the bundled C library resolves, without a file for the order of its sources.
  await Deno.writeTextFile(`${root}/etc/hosts`, "172.28.128.100 etcd.lab\n");
  await Deno.writeTextFile(`${root}/etc/machine-id`, "0123456789abcdef0123456789abcdef\n");
  await Deno.writeTextFile(`${root}/bin/hook`, HOOK, { mode: 0o755 });
}

/** Starts the executable in the bare root, on the system calls of Linux 3.10. */
function startInRoot(host: UnderlayHost, args: readonly string[]): Promise<LabProcess> {
  return host.spawn([
    ...[
      "sh",
      "-c",
      'mount -t proc proc "$0/proc" && mount --bind /sys "$0/sys" && exec "$@"',
      root,
    ],
    ...[...ON_LINUX_3_10, "chroot", root, "/usr/bin/flanneld", ...args],
  ]);
}

/** Waits until a host reaches the base address of the subnet of a subnet file. */
async function untilReached(from: UnderlayHost, subnetFile: string): Promise<void> {
  await eventually(`an answer from the overlay of ${subnetFile}`, async () => {
    const text = await Deno.readTextFile(subnetFile);
    const [, base] = /^FLANNEL_SUBNET=(.*)\.1\/24$/m.exec(text)!;
    return await from.ping(`${base}.0`) === 1;
  });
}

Deno.test("the build with its own C library leases, and brings vxlan and udp up, without a C library and on the system calls of Linux 3.10", async () => {
  await using lab = await Lab.start({ hosts: 2 });
  await using stack = new AsyncDisposableStack();
  const [one, two] = lab.hosts as [UnderlayHost, UnderlayHost];
  const etcd = stack.use(await LabEtcd.start(one));
  await etcd.set("v3", `${PREFIX}/config`, CONFIG);
  await writeSysconfig(one, etcd);
  stack.use(await LabUnit.start(one));
  const agent = stack.use(
    await startInRoot(two, [
      ...[
        "-iface=eth1",
        `-etcd-endpoints=http://etcd.lab:${new URL(etcd.endpoint).port}`,
        `-etcd-prefix=${PREFIX}`,
      ],
      "-on-subnet-change=/bin/hook",
    ]),
  );
  const subnetFile = `${root}/run/flannel/subnet.env`;
  await agent.waitFor("Wrote subnet file to /run/flannel/subnet.env");
  await untilReached(one, subnetFile);
  assertMatch(
    await Deno.readTextFile(`/proc/${agent.pid}/status`),
    /^Name:\tflanneld$[^]*^Seccomp:\t2$/m,
  );

  // Of other numbers, so that the command of -on-subnet-change runs.
  await etcd.set(
    "v3",
    `${PREFIX}/config`,
    '{"Network": "10.30.0.0/16", "Backend": {"Type": "udp"}}',
  );
  await eventually("another subnet", async () => {
    return (await Deno.readTextFile(subnetFile)).includes("FLANNEL_NETWORK=10.30.0.0/16");
  });
  await untilReached(one, subnetFile);
  await eventually("the command has run", async () => {
    return await Deno.stat(`${root}/run/hook-maps`).then(() => true, () => false);
  });
  assert(!/^LD_/m.test(await Deno.readTextFile(`${root}/run/hook-environment`)));
  assert(agent.running, agent.output);
});

Deno.test("the build with its own C library ends with one line where neither getrandom(2) nor /dev/random is there", async () => {
  await using lab = await Lab.start({ hosts: 1 });
  const [host] = lab.hosts as [UnderlayHost];
  await Deno.rename(`${root}/dev/random`, `${root}/dev/hidden`);
  try {
    const agent = await startInRoot(host, ["-iface=eth1", "-etcd-endpoints=http://127.0.0.1:4002"]);
    const { code } = await agent.status;
    assertEquals([code, agent.output], [
      1,
      "flanneld: this kernel has no getrandom(2), and /dev/random is missing: mount devtmpfs on /dev, " +
      "or run mknod -m 666 /dev/random c 1 8\n",
    ]);
  } finally {
    await Deno.rename(`${root}/dev/hidden`, `${root}/dev/random`);
  }
});

Deno.test("the build with its own C library runs under the unit for systemd 219, and starts programs with the host's C library", async () => {
  await using lab = await Lab.start({ hosts: 1 });
  await using stack = new AsyncDisposableStack();
  const [host] = lab.hosts as [UnderlayHost];
  const etcd = stack.use(await LabEtcd.start(host));
  await etcd.set("v3", `${PREFIX}/config`, CONFIG);
  await writeSysconfig(host, etcd, {
    options: "-iface=eth1 -ip-masq -firewall=iptables -on-subnet-change=/usr/bin/hook",
  });
  const systemd = stack.use(await LabSystemd.start(host));
  await systemd.exec(["mkdir", "-p", LIBRARIES, "/usr/libexec/flannel", "/etc/tmpfiles.d"]);
  for (
    const [from, to] of [
      ...libraries.map((path) => [path, `${LIBRARIES}/${basename(path)}`] as const),
      [executable, "/usr/bin/flanneld"],
      [`${root}/bin/hook`, "/usr/bin/hook"],
      [`${ROOT}scripts/mk-docker-opts.sh`, "/usr/libexec/flannel/mk-docker-opts.sh"],
      [`${SYSTEMD_219}/flanneld.service`, "/etc/systemd/system/flanneld.service"],
      [`${SYSTEMD_219}/tmpfiles.conf`, "/etc/tmpfiles.d/flanneld.conf"],
    ] as [string, string][]
  ) {
    await Deno.copyFile(from, systemd.path(to));
  }
  await systemd.exec(["systemd-tmpfiles", "--create", "flanneld.conf"]);
  await systemd.exec(["systemctl", "daemon-reload"]);
  await systemd.exec(["systemctl", "start", "flanneld"]).catch(async (error) => {
    throw new Error(`${error.message}${await systemd.journal("flanneld")}`);
  });

  const pid = await systemd.property("flanneld", "MainPID");
  const maps = await systemd.exec(["cat", `/proc/${pid}/maps`]);
  const mapped = new Set(maps.match(/\/\S+\.so\S*/g));
  assertEquals([...mapped].filter((path) => !path.startsWith(`${LIBRARIES}/`)), []);
  assert(mapped.size >= 5 && mapped.size <= libraries.length, [...mapped].join());
  const status = await systemd.exec(["cat", `/proc/${pid}/status`]);
  assertMatch(status, /^CapBnd:\t0*3000$/m); // capability(7): NET_ADMIN is 12, NET_RAW 13.
  assertMatch(status, /^Seccomp:\t2$/m);

  assertMatch(await host.exec(["iptables", "-t", "nat", "-S"]), /-A FLANNEL-POSTRTG .*MASQUERADE/);
  await etcd.set("v3", `${PREFIX}/config`, CONFIG.replace("10.20.", "10.30."));
  await eventually("the command has run", async () => {
    return (await systemd.run(["test", "-s", "/run/hook-maps"])).code === 0;
  });
  const hookMaps = await host.readTextFile("/run/hook-maps");
  assertMatch(hookMaps, /\/libc\.so\.6$/m);
  assert(!hookMaps.includes(LIBRARIES), hookMaps);
  assert(!/^LD_/m.test(await host.readTextFile("/run/hook-environment")));

  await systemd.exec(["systemctl", "stop", "flanneld"]);
  assertEquals(await systemd.property("flanneld", "Result"), "success");
  // Docker starts by these while the agent is down.
  assertMatch(await host.readTextFile("/run/flannel/docker"), /--bip=10\.[23]0\./);
});
